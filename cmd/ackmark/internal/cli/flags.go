package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/hostport"
)

func visitNames(names *[]string) func(*pflag.Flag) {
	return func(f *pflag.Flag) {
		if !f.Hidden {
			*names = append(*names, f.Name)
		}
	}
}

// sidecarFlags are the flags of every command that reads the sidecar's configuration.
type sidecarFlags struct {
	config string
	kafka  []string
	set    *pflag.FlagSet
}

func addSidecarFlags(cmd *cobra.Command) *sidecarFlags {
	f := &sidecarFlags{set: cmd.Flags()}
	f.set.StringVar(&f.config, "config", "", "YAML file with the configuration (ackmark config echo prints one); also ACKMARK_CONFIG")
	f.set.StringArrayVar(&f.kafka, "kafka", nil, "Kafka client property as name=value, by its Java or librdkafka name; repeatable")
	for _, field := range settings.Fields() {
		f.set.String(field.Flag(), field.Default, field.Help())
	}
	return f
}

// load reads the effective configuration.
func (f *sidecarFlags) load(environ []string) (*settings.Effective, error) {
	src := settings.Sources{File: f.config, Environ: environ, Flags: map[string]string{}}
	if f.set.Changed("config") && f.config == "" {
		return nil, errors.New("--config is empty; name a YAML file, or leave the flag out")
	}
	if src.File == "" {
		src.File = lookupEnv(environ, "ACKMARK_CONFIG")
	}
	for _, field := range settings.Fields() {
		if flag := f.set.Lookup(field.Flag()); flag.Changed {
			src.Flags[field.Key] = flag.Value.String()
		}
	}
	var err error
	if src.KafkaFlags, err = parseProperties(f.kafka); err != nil {
		return nil, err
	}
	return settings.Load(src)
}

func parseProperties(list []string) (map[string]string, error) {
	props := map[string]string{}
	for _, p := range list {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--kafka %q: write name=value, as in --kafka client.id=orders", propertyName(p))}
		}
		props[name] = value
	}
	return props, nil
}

// propertyName is the start of a text that may be a name; what follows may be a secret.
func propertyName(text string) string {
	end := strings.IndexFunc(text, func(r rune) bool { return r == ':' || r == ' ' || r == '\t' || r == '=' })
	if end < 0 {
		return text
	}
	return text[:end] + "…"
}

func lookupEnv(environ []string, name string) string {
	for _, kv := range environ {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// refuseEmpty refuses flags that were written without a value, as by a variable that is not set:
// --brokers "$BROKERS" would run on the embedded broker.
func refuseEmpty(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if f := cmd.Flags().Lookup(name); f.Changed && (f.Value.String() == "" || f.Value.String() == "[]") {
			return usageError{fmt.Errorf("--%s is empty; write a value, or leave the flag out", name)}
		}
	}
	return nil
}

// checkBrokers names the address that no client can dial.
func checkBrokers(brokers []string) error {
	if b, bad := hostport.FirstBad(brokers); bad {
		return usageError{fmt.Errorf("--brokers has %q; %s", b, hostport.Remedy)}
	}
	return nil
}

// namedArgs wants so many arguments, as the command's use says.
func namedArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%d arguments; write: %s", len(args), cmd.UseLine())}
		}
		return nil
	}
}

// commandsOf are the names of those that the help shows.
func commandsOf(cmd *cobra.Command) (names []string) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// noArgs refuses arguments, in words.
func noArgs(cmd *cobra.Command, args []string) error {
	if names := commandsOf(cmd); len(args) > 0 && len(names) > 0 {
		hint := ""
		if near := settings.Nearest(args[0], names); near != "" {
			hint = fmt.Sprintf("; did you mean %s?", near)
		}
		return usageError{fmt.Errorf("%s has no %q, but %s%s", cmd.CommandPath(), args[0], strings.Join(names, ", "), hint)}
	}
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, but got %q; see `%s --help`", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}
