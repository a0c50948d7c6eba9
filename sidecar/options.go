package sidecar

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/kgoopt"
)

// checkOptions refuses the options that would break a promise.
func checkOptions(opts []kgo.Opt) error {
	probe, err := kgoopt.Check(kgoopt.Sidecar, opts)
	if err != nil {
		return err
	}
	probe.Close()
	return nil
}

// clientOptions are the user's options, and then those that hold the promises; usual are those of
// the client that most records go through.
func (s *Server) clientOptions() (all, usual []kgo.Opt) {
	defaults := []kgo.Opt{kgo.ClientID("ackmark-sidecar"), kgo.MetadataMinAge(400 * time.Millisecond)}
	all = append(append(defaults, s.cfg.Options...),
		kgo.SeedBrokers(s.cfg.Brokers...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.BrokerMaxWriteBytes(int32(max(100<<20, s.cfg.MaxRecordBytes+(1<<20)))),
		kgo.UnknownTopicRetries(2),
		kgo.WithHooks(&s.hooks),
	)
	return all, []kgo.Opt{
		kgo.ProducerLinger(s.cfg.linger()),
		kgo.ProducerBatchMaxBytes(int32(min(s.cfg.MaxRecordBytes, largestBatch))), // and the topic's own limit
		kgo.WithHooks(queueing{}),
	}
}
