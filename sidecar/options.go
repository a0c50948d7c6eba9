package sidecar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/kgoopt"
)

// OptionError is an option of Config.Options that would break a promise.
type OptionError struct {
	Option, Reason, Remedy string
}

// Error implements error.
func (e *OptionError) Error() string {
	return fmt.Sprintf("sidecar: Config.Options: kgo.%s: %s; %s", e.Option, e.Reason, e.Remedy)
}

// checkOptions refuses by name. Options are opaque functions: only a client made from them tells
// what they say.
func checkOptions(opts []kgo.Opt) error {
	if len(opts) == 0 {
		return nil
	}
	if i := slices.Index(opts, nil); i >= 0 {
		return fmt.Errorf("sidecar: Config.Options[%d] is nil: leave it out", i)
	}
	if err := optionError(kgoopt.Check(kgoopt.Sidecar, opts)); err != nil {
		return err
	}
	theirs, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("sidecar: Config.Options: %w", err)
	}
	defer theirs.Close()
	plain, err := kgo.NewClient()
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	defer plain.Close()
	if err := optionError(kgoopt.CheckValues(kgoopt.Sidecar, theirs, plain)); err != nil {
		return err
	}
	if fmt.Sprintf("%T", theirs.OptValue(kgo.RecordPartitioner)) != fmt.Sprintf("%T", plain.OptValue(kgo.RecordPartitioner)) {
		return &OptionError{"RecordPartitioner", "another one moves keys to other partitions", "set Config.Partitioner"}
	}
	if ctx, _ := theirs.OptValue(kgo.WithContext).(context.Context); ctx != nil && ctx.Done() != nil {
		return &OptionError{"WithContext", "its end would fail records that are on their way", "end the context of Run instead"}
	}
	return nil
}

// optionError is all refusals as one error, or nil.
func optionError(refused []kgoopt.Refusal) error {
	var errs []error
	for _, r := range refused {
		errs = append(errs, &OptionError{r.Option, r.Reason, r.Remedy})
	}
	return errors.Join(errs...)
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
