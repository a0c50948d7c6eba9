package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// clusterFlags are the flags of every command that asks a cluster.
type clusterFlags struct{ brokers, kafka []string }

func addClusterFlags(cmd *cobra.Command, f *clusterFlags) {
	cmd.Flags().StringSliceVar(&f.brokers, "brokers", nil, "brokers of the cluster, host:port comma separated (required)")
	cmd.Flags().StringArrayVar(&f.kafka, "kafka", nil, "Kafka client property as name=value (security.protocol, sasl.username …); repeatable")
}

func (f *clusterFlags) check() error {
	if len(f.brokers) == 0 {
		return usageError{errors.New("--brokers is missing; write host:port of one or more brokers")}
	}
	return checkBrokers(f.brokers)
}

// options are a client's, which gives up after half a minute without an answer.
func (f *clusterFlags) options(id string) ([]kgo.Opt, error) {
	props, err := parseProperties(f.kafka)
	if err != nil {
		return nil, err
	}
	opts, err := settings.KafkaOptions(props)
	if err != nil {
		return nil, err
	}
	return append([]kgo.Opt{kgo.ClientID(id)}, append(opts, kgo.SeedBrokers(f.brokers...), kgo.RetryTimeout(30*time.Second))...), nil
}

func (f *clusterFlags) client(id string) (*kgo.Client, error) {
	opts, err := f.options(id)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("--brokers or --kafka: %w", err)
	}
	return client, nil
}
