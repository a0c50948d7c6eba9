package main

import (
	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/cli"
)

// commands are all subcommands. A new one changes the help: go test ./cmd/ackmark -run TestScripts
// -update.
func commands() []*cobra.Command {
	return []*cobra.Command{
		cli.NewDemoCommand(),
		cli.NewSidecarCommand(),
		cli.NewBenchCommand(),
		cli.NewChaosCommand(),
		cli.NewAuditCommand(),
		cli.NewDLQCommand(),
		cli.NewLagCommand(),
		cli.NewBaselineCommand(),
		cli.NewStatusCommand(),
		cli.NewTopCommand(),
		cli.NewGetCommand(),
		cli.NewExplainCommand(),
		cli.NewSetCommand(),
		cli.NewHealthcheckCommand(),
		cli.NewConfigCommand(),
		cli.NewVersionCommand(),
		cli.NewManCommand(),
	}
}
