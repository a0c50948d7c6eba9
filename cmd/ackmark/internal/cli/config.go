package cli

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/sidecar"
)

// NewConfigCommand returns `ackmark config`.
func NewConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Check or show the sidecar's configuration", Args: noArgs,
		Long: `The sidecar's configuration comes from flags, over ACKMARK_ variables, over the file of --config, over defaults.
Neither command connects to anything.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(), newConfigEcho())
	return cmd
}

func newConfigCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration; exit code 2 names what is wrong", Args: noArgs,
		Example: "  ackmark config check --config sidecar.yaml\n  ACKMARK_BROKERS=kafka-1:9092 ackmark config check",
	}
	flags := addSidecarFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := flags.load(os.Environ())
		if err != nil {
			return usageError{err}
		}
		if err := checkSidecar(e); err != nil {
			return usageError{err}
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "ok: brokers %s, listen %s\n", strings.Join(e.Brokers, ","), e.Listen)
		return err
	}
	return cmd
}

func newConfigEcho() *cobra.Command {
	cmd := &cobra.Command{
		Use: "echo", Short: "Print the effective configuration as a file, with the source of each value, secrets redacted", Args: noArgs,
		Example: "  ackmark config echo --brokers kafka-1:9092 > sidecar.yaml",
	}
	flags := addSidecarFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := flags.load(os.Environ())
		if err != nil {
			return usageError{err}
		}
		text, err := e.YAML()
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	return cmd
}

// checkSidecar checks what the sidecar itself would refuse.
func checkSidecar(e *settings.Effective) error {
	cfg, err := sidecarConfig(e, slog.Default())
	if err != nil {
		return err
	}
	s, err := sidecar.New(cfg)
	if err != nil {
		return asUsage(err)
	}
	return s.Close()
}
