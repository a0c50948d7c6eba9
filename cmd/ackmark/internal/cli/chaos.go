package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/chaos"
)

// NewChaosCommand returns `ackmark chaos`.
func NewChaosCommand() *cobra.Command {
	var env chaos.Env
	var kafka []string
	var protocol string
	var embedded, asJSON bool
	cmd := &cobra.Command{
		Use: "chaos", Args: noArgs, Short: "Do every fault of docs/faults.md to real processes, and count what that cost",
		Long: `Runs a pod of two apps and a sidecar, as processes, under load; kills, stops and cuts off its parts as the
faults of docs/faults.md say; and counts what an independent reader finds: lost, repeated against its bound,
reordered, committed before its output was written. One line for each fault while it runs, then a table. Faults
that cannot be made in this place say why. Under five minutes. Exit code 1 if a promise was broken.

With --exactly-once the sidecar commits the outputs and offsets of both apps in transactions, and the reader reads
committed records (isolation.level=read_committed): nothing at all may come again. It takes groups of both protocols,
and brokers of Kafka 4.0 or later.`,
		Example: `  ackmark chaos --embedded
  ackmark chaos --embedded --faults 1,4,10
  ackmark chaos --embedded --protocol consumer
  ackmark chaos --embedded --exactly-once
  ackmark chaos --embedded --exactly-once --protocol consumer
  ackmark chaos --brokers localhost:9092    # creates topics with unique names and deletes them
  ackmark chaos --embedded --seed 7 --json | jq '.[] | {row, fault, verdict}'`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := refuseEmpty(cmd, "brokers"); err != nil {
				return err
			}
			if err := checkBrokers(env.Addrs); err != nil {
				return err
			}
			switch {
			case embedded == (len(env.Addrs) > 0):
				return usageError{errors.New("give --embedded, for a broker in this process, or --brokers host:port of a cluster where topics may be made and deleted")}
			case env.Rate < 10 || env.Rate > 50_000:
				return usageError{fmt.Errorf("--rate is %d: give 10 to 50000 inputs per second", env.Rate)}
			}
			if err := env.Protocol.UnmarshalText([]byte(protocol)); err != nil || env.Protocol == consumer.AutoProtocol || protocol == "" {
				return usageError{fmt.Errorf("--protocol is %q: give classic or consumer", protocol)}
			}
			if env.Kafka, err = parseProperties(kafka); err != nil {
				return err
			}
			if env.Options, err = settings.KafkaOptions(env.Kafka); err != nil {
				return err
			}
			if env.Executable, err = os.Executable(); err != nil {
				return err
			}
			if !cmd.Flags().Changed("seed") {
				env.Seed = uint64(time.Now().UnixNano()) % 1_000_000
			}
			env.ChildArgs, env.Progress = []string{"chaos", "child"}, cmd.ErrOrStderr()
			if err := env.Open(cmd.Context()); err != nil {
				_, noRow := errors.AsType[*chaos.RowError](err)
				_, lacks := errors.AsType[*chaos.LackError](err)
				if noRow || lacks {
					return usageError{err}
				}
				return orCut(cmd.Context(), err)
			}
			defer env.Close()
			begun := time.Now()
			fmt.Fprintf(env.Progress, "seed %d: the same faults again with --seed %d\n", env.Seed, env.Seed)
			all, err := env.Run(cmd.Context())
			if err != nil && !errors.Is(err, chaos.ErrBroken) {
				return orCut(cmd.Context(), err)
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return errors.Join(err, enc.Encode(all))
			}
			chaos.Table(cmd.OutOrStdout(), all)
			for _, r := range all {
				if r.Details != "" {
					fmt.Fprintf(cmd.ErrOrStderr(), "\nfault %d, %s:\n%s\n", r.Row, r.Fault, r.Details)
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s · the same faults again: --seed %d\n", time.Since(begun).Round(time.Second), env.Seed)
			return err
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&env.Addrs, "brokers", nil, "run on this cluster, host:port comma separated")
	f.BoolVar(&embedded, "embedded", false, "run on a broker in this process, which can fail on command")
	f.StringArrayVar(&kafka, "kafka", nil, "Kafka client property for --brokers as name=value (security.protocol, sasl.username …); repeatable")
	f.IntSliceVar(&env.Rows, "faults", nil, "only these of docs/faults.md, by their numbers, comma separated (default all)")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "rows" {
			name = "faults" // as it was called
		}
		return pflag.NormalizedName(name)
	})
	f.StringVar(&protocol, "protocol", "classic", "of the consumer group: classic, or consumer (KIP-848; brokers of Kafka 4.3 or later)")
	f.BoolVar(&env.ExactlyOnce, "exactly-once", false, "outputs and offsets in transactions of the sidecar: nothing may come again")
	f.IntVar(&env.Rate, "rate", 1000, "inputs per second")
	f.Uint64Var(&env.Seed, "seed", 0, "what is left to chance (default: by the clock, printed)")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON; the progress goes to standard error")
	cmd.AddCommand(&cobra.Command{
		Use: "child", Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return chaos.RunChild(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), settings.KafkaOptions)
		},
	})
	return cmd
}
