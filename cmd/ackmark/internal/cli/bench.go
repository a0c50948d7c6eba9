package cli

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/bench"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// NewBenchCommand returns `ackmark bench`.
func NewBenchCommand() *cobra.Command {
	var o bench.Options
	var kafka []string
	var sessionEvery time.Duration
	cmd := &cobra.Command{
		Use: "bench", Args: noArgs, Short: "Measure the at-least-once job against the bare franz-go loop, in the same run",
		Long: `Consumes, upper-cases, produces and commits the same inputs with the bare franz-go AutoCommitMarks loop, with the
pipeline and a producer of its own, and with the pipeline through a sidecar; each as processes of its own, in
alternated pairs. Ends with the median ratios, their intervals and the goals. Two minutes by default; ratios count,
seconds do not. With --only exactly-once the pipeline runs through a sidecar at-least-once and exactly-once; with
--only session exactly-once of many processes, against a GroupTransactSession of franz-go in each. Exit code 1 only if a count
was wrong: every input must come out once and be committed.`,
		Example: `  ackmark bench
  ackmark bench --only library --pairs 4
  ackmark bench --only metrics --records 2000000 # what metrics cost: none, none that is read, scraped each second
  ackmark bench --only slices --pairs 128       # what being scraped costs, closer: slices of processes that live on, of --records each
  ackmark bench --only state --records 2000000   # what session files cost: none, and kept
  ackmark bench --size 1024 --records 100000
  ackmark bench --brokers localhost:9092       # creates topics with unique names and deletes them
  ackmark bench --cpuprofile /tmp/profiles     # then: go tool pprof /tmp/profiles/library-01.pprof
  ackmark bench --only exactly-once,latency    # against at-least-once, through the sidecar
  ackmark bench --only processes --processes 10,50 --pairs 4 # a pod: own producers, or one sidecar
  ackmark bench --only scale --pairs 8         # 1 to 50 sessions of a sidecar, 6 to 1,000 partitions: five minutes
  ackmark bench --only scale --sessions 50     # one point of one series
  ackmark bench --only session --records 2000000 # exactly-once of 10 processes, against a GroupTransactSession in each: ten minutes
  ackmark bench --only one-cpu --pairs 32      # what a sidecar with GOMAXPROCS=1 saves
  ackmark bench --against ./ackmark-v0.1       # before and after, in the same rounds
  ackmark bench --json | jq '.goals[] | {name, what, verdict}'`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := refuseZero(cmd, "records", "size", "pairs", "partitions", "backlog"); err != nil {
				return err
			}
			if err := refuseEmpty(cmd, "brokers", "only", "against", "cpuprofile", "from"); err != nil {
				return err
			}
			if err := checkBrokers(o.Brokers); err != nil {
				return err
			}
			if o.Kafka, err = parseProperties(kafka); err != nil {
				return err
			}
			if _, err = settings.KafkaOptions(o.Kafka); err != nil {
				return err
			}
			if cmd.Flags().Changed("session-every") {
				o.SessionEvery = &sessionEvery
			}
			if o.Executable, err = os.Executable(); err != nil {
				return err
			}
			o.ChildArgs = []string{"bench", "child"}
			o.Stdout, o.Stderr, o.Terminal = cmd.OutOrStdout(), cmd.ErrOrStderr(), terminal(cmd.ErrOrStderr())
			err = bench.Run(cmd.Context(), o)
			if _, refused := errors.AsType[*bench.OptionError](err); refused {
				return usageError{err}
			}
			return orCut(cmd.Context(), err)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Brokers, "brokers", nil, "measure on this cluster, host:port comma separated, instead of an embedded broker")
	f.IntSliceVar(&o.BrokerPIDs, "broker-pids", nil, "process ids of the brokers of --brokers that run on this machine, comma separated: their CPU time is measured")
	f.StringArrayVar(&kafka, "kafka", nil, "Kafka client property for --brokers as name=value (security.protocol, sasl.username …); repeatable")
	f.IntVar(&o.Records, "records", bench.DefaultRecords, "inputs of each run; if it is not set, of many processes 40,000 of each or more, of a slice 2,000,000")
	f.IntVar(&o.Size, "size", bench.DefaultSize, "bytes of each input's value")
	f.IntSliceVar(&o.Processes, "processes", nil, "with --only processes or session: how many of them there are, comma separated (default 10,50; of session 10)")
	f.IntSliceVar(&o.Sessions, "sessions", nil, "with --only scale: sessions of one sidecar, comma separated (default 1,2,5,10,20,50; none if only --partition-counts is given)")
	f.IntSliceVar(&o.PartitionCounts, "partition-counts", nil, "with --only scale: partitions of the topics, comma separated (default 6,30,100,300,1000; none if only --sessions is given)")
	f.IntVar(&o.Pairs, "pairs", bench.DefaultPairs, "rounds, in each of which every contestant runs once")
	f.IntVar(&o.Partitions, "partitions", bench.DefaultPartitions, "partitions of each topic")
	f.IntVar(&o.Concurrency, "concurrency", 0, "lanes of the pipeline (default: one for each CPU)")
	f.IntVar(&o.Backlog, "backlog", 0, "inputs that wait while the handler stalls (default 10,000,000; with --brokers, where they are written first, 1,000,000)")
	f.StringSliceVar(&o.Only, "only", nil, "only these parts: "+strings.Join(bench.Parts, ", ")+" (default all but metrics, slices, state, exactly-once, processes, scale, one-cpu and session)")
	f.DurationSliceVar(&o.CommitEvery, "commit-every", nil, "intervals of the part exactly-once, comma separated; the first is that of session (default 100ms,20ms)")
	f.DurationVar(&o.RoundTrip, "round-trip", bench.DefaultRoundTrip, "with --only session: added between the brokers and each process that is measured; 0: none")
	f.DurationVar(&sessionEvery, "session-every", 0, "with --only session: how long a transaction of a GroupTransactSession takes polls; 0: one poll (default: found, so that its median latency is the sidecar's)")
	f.StringVar(&o.From, "from", "", "measure nothing: show the result in this file, which --json has printed")
	f.StringVar(&o.Against, "against", "", "another ackmark binary, of an earlier version, whose pipeline runs in the same rounds")
	f.BoolVar(&o.SourceHeaders, "source-headers", false, "with a source header on every output (for ackmark audit); the bare loop writes one, too")
	f.StringVar(&o.CPUProfile, "cpuprofile", "", "write a CPU profile of each measured process into this directory")
	f.BoolVar(&o.JSON, "json", false, "print the result as JSON; the progress goes to standard error")
	cmd.AddCommand(newBenchChild())
	return cmd
}

// newBenchChild is what the bench re-executes. It is told what to be by its standard input.
func newBenchChild() *cobra.Command {
	return &cobra.Command{
		Use: "child", Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.RunChild(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}

// refuseZero refuses zeros that were written: unwritten, they stand for the default.
func refuseZero(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if f := cmd.Flags().Lookup(name); f.Changed && slices.Contains([]string{"0", "-0", "0s"}, f.Value.String()) {
			return usageError{errors.New("--" + name + " is 0; it must be positive")}
		}
	}
	return nil
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
