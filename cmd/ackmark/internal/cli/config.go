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
What is checked is all that the sidecar checks at its start, and all errors come together: keys that are not known with
the nearest one that is, values with what may be written instead, files that cannot be read, secrets that YAML reads as
numbers (01234567 needs quotes). None of these commands connects to anything.`,
		Example: `  ackmark config defaults > sidecar.yaml                # every setting, explained
  ackmark config check --config sidecar.yaml            # in CI, and before SIGHUP
  ackmark config echo --config sidecar.yaml             # what is in force, and where it comes from`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(), newConfigEcho(), newConfigDefaults())
	return cmd
}

func newConfigCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration; exit code 2 names what is wrong", Args: noArgs,
		Example: "  ackmark config check --config sidecar.yaml\n  ACKMARK_BROKERS=kafka-1:9092 ackmark config check",
	}
	flags := addSidecarFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, s, err := flags.sidecar(os.Environ(), quiet, nil, none)
		if err != nil {
			return usageError{err}
		}
		if err := s.Close(); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "ok: brokers %s, listen %s\n", strings.Join(e.Brokers, ","), e.Listen)
		return err
	}
	return cmd
}

func newConfigDefaults() *cobra.Command {
	return &cobra.Command{
		Use: "defaults", Short: "Print a file with every setting: what it does, its default, whether SIGHUP changes it", Args: noArgs,
		Long: `The file is a start: write brokers into it, and delete what you leave as it is. A setting that is left out has its
default, also in later versions.`,
		Example: "  ackmark config defaults > sidecar.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := settings.Documented()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

func newConfigEcho() *cobra.Command {
	cmd := &cobra.Command{
		Use: "echo", Short: "Print the effective configuration as a file, with the source of each value, secrets redacted", Args: noArgs,
		Example: "  ackmark config echo --brokers kafka-1:9092 > sidecar.yaml",
	}
	flags := addSidecarFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, s, err := flags.sidecar(os.Environ(), quiet, nil, none)
		if err != nil {
			return usageError{err}
		}
		if err := s.Close(); err != nil {
			return err
		}
		cfg := sidecarConfig(e, slog.Default())
		text, err := e.YAML(limitsOf(cfg.WithDefaults()))
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	return cmd
}

// limitsOf are the automatic limits of a configuration in effect.
func limitsOf(c sidecar.Config) settings.Limits {
	return settings.Limits{
		Bytes: c.MaxBytes, Records: int64(c.MaxRecords), AppBytes: c.AppBytes, PartitionBytes: c.PartitionBytes, AppRecords: int64(c.AppRecords), PartitionRecords: int64(c.PartitionRecords), Linger: c.MaxLinger,
	}
}

func quiet(*settings.Effective) *slog.Logger { return slog.New(slog.DiscardHandler) }
