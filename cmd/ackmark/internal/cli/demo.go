package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/demo"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// NewDemoCommand returns `ackmark demo`.
func NewDemoCommand() *cobra.Command {
	var o demo.Options
	var kafka []string
	var memory string
	cmd := &cobra.Command{
		Use: "demo", Args: noArgs, Short: "Kill an auto-commit consumer and an Ackmark pipeline, and count what each lost",
		Long: `Starts an embedded development broker (not for production), a load generator, a sidecar with two pipeline
processes and, beside them, two processes of an ordinary auto-commit consumer that does the same work. Kills a
process of each side several times with SIGKILL, restarts it, lets both drain, reads both output topics with an
independent reader and prints what was lost, duplicated and reordered. Exit code 1 if Ackmark lost anything.

With --exactly-once a third side does the same job exactly-once, in transactions of a sidecar of its own. A reader with
isolation.level=read_committed must see each of its outputs once, or the exit code is 1. What aborted transactions left
is counted beside it: other readers see that.

With --memory-limit another show: the pipeline processes run under a memory limit before a backlog of 16 times its size,
in inputs of 1 MB that compress well. First every handler stalls, and nobody may die; then one leaks until it is killed
at the limit, as often as --kills says, and nothing may be lost or emitted twice.`,
		Example: `  ackmark demo
  ackmark demo --page                          # watch it in a browser
  ackmark demo --kills 8 --seed 7
  ackmark demo --exactly-once
  ackmark demo --input access.log
  zcat access.log.gz | ackmark demo --input - --records 300000
  ackmark demo --brokers localhost:9092        # creates topics with unique names and deletes them
  ackmark demo --memory-limit 256MiB
  ackmark demo --json | jq .ackmark.lost`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Page && !cmd.Flags().Changed("kills") {
				o.Kills = demo.PageKills
			}
			if o.Page && !cmd.Flags().Changed("records") && o.Input == "" {
				o.Records = demo.PageRecords
			}
			if cmd.Flags().Changed("memory-limit") {
				var err error
				if o.MemoryLimit, err = settings.ParseCount(memory); err != nil || o.MemoryLimit == 0 {
					return &demo.UsageError{Option: "--memory-limit", Problem: fmt.Sprintf("is %q; write a size like 256MiB", memory)}
				}
			}
			return runDemo(cmd, o, kafka)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Input, "input", "", "feed the lines of this file (- is standard input) instead of generated records")
	f.StringSliceVar(&o.Brokers, "brokers", nil, "run on this cluster, host:port comma separated, instead of the embedded broker")
	f.StringArrayVar(&kafka, "kafka", nil, "Kafka client property for --brokers as name=value (security.protocol, sasl.username …); repeatable")
	f.IntVar(&o.Records, "records", 0, "how many inputs (default 16,000, or all lines of --input)")
	f.Float64Var(&o.Rate, "rate", 0, "average inputs per second (default: all of them while the kills happen)")
	f.IntVar(&o.Kills, "kills", demo.DefaultKills, "SIGKILLs per side")
	f.Uint64Var(&o.Seed, "seed", 0, "seed of the kill schedule (default: from the clock, printed)")
	f.IntVar(&o.Partitions, "partitions", demo.DefaultPartitions, "partitions of each topic")
	f.IntVar(&o.Processes, "processes", demo.DefaultProcesses, "consuming processes per side")
	f.DurationVar(&o.Work, "work", 0, "simulated work per message (default: a process alone is slower than the input, all are faster); 0s is none")
	f.IntVar(&o.Workers, "workers", 0, "messages that a process works on at once (default 10, at high rates 50)")
	f.DurationVar(&o.SessionTimeout, "session-timeout", 0, "session timeout of both groups (default 1.5s, with --brokers 6s)")
	f.StringVar(&memory, "memory-limit", "", "run the processes under this memory limit (256MiB …), with handlers that stall and leak")
	f.BoolVar(&o.ExactlyOnce, "exactly-once", false, "a third side: Ackmark exactly-once, read by a reader of committed records")
	f.BoolVar(&o.Page, "page", false, "serve the sidecar's page while the show runs, print its address, and open it where there is a terminal and a display (then 48,000 inputs and 12 kills, if not chosen: 35 s)")
	f.BoolVar(&o.JSON, "json", false, "print the result as JSON; the progress goes to standard error")
	f.BoolVar(&o.Verbose, "verbose", false, "show the logs of the child processes")
	cmd.AddCommand(newDemoChild())
	return cmd
}

func runDemo(cmd *cobra.Command, o demo.Options, kafka []string) error {
	err := refuseEmpty(cmd, "brokers", "input", "memory-limit")
	if err != nil {
		return err
	}
	if o.Kafka, err = parseProperties(kafka); err != nil {
		return err
	}
	if o.Executable, err = os.Executable(); err != nil {
		return err
	}
	switch {
	case o.Work < 0:
		return &demo.UsageError{Option: "--work", Problem: fmt.Sprintf("is %s; it must be 0s, which is none, to 10s", o.Work)}
	case cmd.Flags().Changed("work") && o.Work == 0:
		o.Work = -1
	}
	if err := refuseZero(cmd, "records", "rate", "partitions", "processes", "workers", "session-timeout"); err != nil {
		return err
	}
	if o.Kills < 0 {
		return &demo.UsageError{Option: "--kills", Problem: "is negative; 0 kills nobody"}
	}
	if o.Kills == 0 {
		o.Kills = -1
	}
	signal.Ignore(syscall.SIGPIPE) // a pipe to head: then a write fails, and the show ends in order, instead of this process at once
	o.ChildArgs = []string{"demo", "child"}
	o.Stdin, o.Stdout, o.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	err = demo.Run(cmd.Context(), o)
	if errors.Is(err, demo.ErrInterrupted) || errors.Is(err, context.Canceled) {
		return codedError{demo.ErrInterrupted, ExitKilled}
	}
	return err
}

// newDemoChild is what the demo re-executes. It is told what to be by its standard input.
func newDemoChild() *cobra.Command {
	return &cobra.Command{
		Use: "child", Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.RunChild(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}
