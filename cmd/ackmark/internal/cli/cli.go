// Package cli holds the subcommands of ackmark, thin shells over the packages that do the work, and
// what they share: exit codes, errors on one line with a remedy, signals, logs.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/demo"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

const longHelp = `Ackmark never auto-commits: an input's offset is committed only when every output made from it is
acknowledged by Kafka. This command is the sidecar that runs once per pod and produces for its processes,
and the tools around it.`

const examples = `  # watch an auto-commit consumer lose messages beside an Ackmark pipeline that does not; needs nothing but this binary
  ackmark demo

  # the sidecar of a pod; apps connect with producer.Dial("unix:///run/ackmark/sidecar.sock")
  ackmark sidecar --brokers kafka-1:9092,kafka-2:9092 --listen unix:///run/ackmark/sidecar.sock

  # what it is doing
  ackmark status`

// usageError is a mistake in the arguments.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// codedError carries an exit code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// errInterrupted: a signal ended the command.
var errInterrupted = errors.New("interrupted")

// orCut is err, or that a signal ended the command before it had a result: what failed then only
// followed.
func orCut(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return codedError{errInterrupted, ExitKilled}
	}
	return err
}

// Main runs the command line and returns the exit code.
func Main(commands []*cobra.Command) int {
	root := newRoot(commands)
	ctx, stop := signalContext(reloadsAtHangup(root, os.Args[1:]))
	defer stop()
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(root.ErrOrStderr(), "ackmark: "+oneLine(err))
	}
	return exitCode(err)
}

func newRoot(commands []*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use: "ackmark", Short: "Kafka pipelines that commit only what is acknowledged", Long: longHelp, Example: examples,
		SilenceErrors: true, SilenceUsage: true, Version: version(),
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("ackmark {{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = false
	root.AddCommand(commands...)
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil { // cobra's prints its help for any word, and ends with 0
		completion.Args, completion.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	cobra.AddTemplateFunc("exits", exitText)
	root.SetUsageTemplate(root.UsageTemplate() + "{{exits .}}")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			return usageError{errors.New(invalidFlag(invalid))}
		}
		return usageError{fmt.Errorf("%w%s", err, flagHint(cmd, err))}
	})
	return root
}

// knownCommand gets the arguments that are no subcommand's.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	hint := "; see `ackmark --help`"
	if near := settings.Nearest(args[0], names); near != "" {
		hint = "; did you mean " + near + "?"
	}
	return usageError{fmt.Errorf("unknown command %q%s", args[0], hint)}
}

// flagHint adds the nearest flag, or where to look.
func flagHint(cmd *cobra.Command, err error) string {
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		if near := settings.Nearest(name, flagNames(cmd)); near != "" {
			return "; did you mean --" + near + "?"
		}
	}
	return "; see `" + cmd.CommandPath() + " --help`"
}

// invalidFlag says what a flag takes, where the library would show how Go's parser failed.
func invalidFlag(err *pflag.InvalidValueError) string {
	f := err.GetFlag()
	takes := map[string]string{
		"int": "a whole number", "uint64": "a whole number, not negative", "float64": "a number, as in 2.5", "duration": "a duration with its unit, as in 1.5s",
		"bool": "true or false", "intSlice": "whole numbers, comma separated", "stringSlice": "texts, comma separated",
	}[f.Value.Type()]
	if takes == "" {
		takes = "a " + f.Value.Type()
	}
	return fmt.Sprintf("--%s is %q; write %s", f.Name, err.GetValue(), takes)
}

// signalContext ends at the first SIGINT, SIGTERM or SIGHUP (the terminal went away), for a clean
// end; the second SIGINT ends the process at once. A command that reloads gets its SIGHUPs by
// [hangups], those that come before it looks, too.
func signalContext(reloads bool) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals, hangups := make(chan os.Signal, 4), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if reloads {
		signal.Notify(hangups, syscall.SIGHUP)
		ctx = context.WithValue(ctx, hangupsKey{}, hangups)
	} else {
		signal.Notify(signals, syscall.SIGHUP)
	}
	done := make(chan struct{})
	go func() {
		interrupts := 0
		for {
			select {
			case <-done:
				return
			case sig := <-signals:
				cancel()
				if sig == syscall.SIGINT {
					if interrupts++; interrupts == 2 {
						os.Exit(ExitKilled)
					}
				}
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(hangups)
		close(done)
		cancel()
	}
}

type hangupsKey struct{}

// hangups are the SIGHUPs for a command that reloads.
func hangups(ctx context.Context) <-chan os.Signal {
	c, _ := ctx.Value(hangupsKey{}).(chan os.Signal)
	return c
}

// reloads marks a command that SIGHUP does not end.
const reloads = "reloads"

func reloadsAtHangup(root *cobra.Command, args []string) bool {
	cmd, _, err := root.Find(args)
	return err == nil && cmd.Annotations[reloads] != ""
}

func exitCode(err error) int {
	if err == nil {
		return ExitClean
	}
	if coded, ok := errors.AsType[codedError](err); ok {
		return coded.code
	}
	_, usage := errors.AsType[usageError](err)
	_, field := errors.AsType[*settings.FieldError](err)
	_, option := errors.AsType[*demo.UsageError](err)
	if usage || field || option {
		return ExitUsage
	}
	return ExitFailed
}

// oneLine is the error on one line. Errors that are made of several become a list with semicolons;
// what children logged stays as it is.
func oneLine(err error) string {
	head, rest, more := strings.Cut(err.Error(), "\n  ")
	head = strings.ReplaceAll(strings.TrimSpace(head), "\n", "; ")
	if more {
		return head + "\n  " + strings.TrimRight(rest, "\n")
	}
	return head
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(visitNames(&names))
	cmd.InheritedFlags().VisitAll(visitNames(&names))
	return names
}
