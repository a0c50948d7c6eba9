package sidecar

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// refusal is a kgo option that would break a promise, if its value differs from what kgo has without it.
type refusal struct {
	option string
	opt    any
	reason string
}

const useConfig = "it is a field of Config: "

// refusals are checked against a client built from nothing but the user's options.
var refusals = []refusal{
	{"SeedBrokers", kgo.SeedBrokers, useConfig + "Brokers"},
	{"RequiredAcks", kgo.RequiredAcks, "an acknowledgement means acks=all here; leave it out"},
	{"DisableIdempotentWrite", kgo.DisableIdempotentWrite, "retries would duplicate and reorder; leave it out"},
	{"AllowIdempotentProduceCancellation", kgo.AllowIdempotentProduceCancellation, "a cancelled batch may be in Kafka and be reported as failed; leave it out"},
	{"TransactionalID", kgo.TransactionalID, "the sidecar's producer is not transactional in at-least-once mode; leave it out"},
	{"RecordRetries", kgo.RecordRetries, "retriable errors are retried for as long as it takes, so that a report is never wrong; leave it out"},
	{"RecordDeliveryTimeout", kgo.RecordDeliveryTimeout, "retriable errors are retried for as long as it takes, so that a report is never wrong; leave it out"},
	{"UnknownTopicRetries", kgo.UnknownTopicRetries, "a topic that does not exist fails after about a second here; leave it out"},
	{"StopProducerOnDataLossDetected", kgo.StopProducerOnDataLossDetected, "one partition's trouble would stop every app of the pod; leave it out"},
	{"MaxBufferedRecords", kgo.MaxBufferedRecords, useConfig + "MaxRecords"},
	{"MaxBufferedBytes", kgo.MaxBufferedBytes, useConfig + "MaxBytes"},
	{"ManualFlushing", kgo.ManualFlushing, "nobody would flush; leave it out"},
	{"ProducerLinger", kgo.ProducerLinger, useConfig + "Linger"},
	{"ProducerBatchMaxBytes", kgo.ProducerBatchMaxBytes, useConfig + "MaxRecordBytes; the topics' own max.message.bytes are asked for"},
	{"DefaultProduceTopic", kgo.DefaultProduceTopic, "a record without a topic is an error, not a guess; leave it out"},
	{"DefaultProduceTopicAlways", kgo.DefaultProduceTopicAlways, "records go to the topic that they name; leave it out"},
	{"ConsumeTopics", kgo.ConsumeTopics, "the sidecar does not consume; leave it out"},
	{"ConsumerGroup", kgo.ConsumerGroup, "the sidecar is in no group; leave it out"},
}

// OptionError is an option of Config.Options that would break a promise.
type OptionError struct {
	Option, Reason string
}

// Error implements error.
func (e *OptionError) Error() string {
	return fmt.Sprintf("sidecar: Config.Options: kgo.%s: %s", e.Option, e.Reason)
}

// checkOptions refuses by name. Options are opaque functions: only a client made from them tells what they say.
func checkOptions(opts []kgo.Opt) error {
	if len(opts) == 0 {
		return nil
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
	for _, r := range refusals {
		if fmt.Sprint(theirs.OptValues(r.opt)...) != fmt.Sprint(plain.OptValues(r.opt)...) {
			return &OptionError{r.option, r.reason}
		}
	}
	if fmt.Sprintf("%T", theirs.OptValue(kgo.RecordPartitioner)) != fmt.Sprintf("%T", plain.OptValue(kgo.RecordPartitioner)) {
		return &OptionError{"RecordPartitioner", useConfig + "Partitioner, and moves keys to other partitions"}
	}
	if ctx, _ := theirs.OptValue(kgo.WithContext).(context.Context); ctx != nil && ctx.Done() != nil {
		return &OptionError{"WithContext", "its end would fail records that are on their way; end the context of Run instead"}
	}
	return nil
}

// clientOptions are the user's options, and then those that hold the promises.
func (s *Server) clientOptions() []kgo.Opt {
	defaults := []kgo.Opt{kgo.ClientID("ackmark-sidecar"), kgo.MetadataMinAge(400 * time.Millisecond)}
	opts := append(defaults, s.cfg.Options...)
	return append(opts,
		kgo.SeedBrokers(s.cfg.Brokers...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(partitioner{s.cfg.Partitioner}),
		kgo.ProducerLinger(s.cfg.linger()),
		kgo.ProducerBatchMaxBytesFn(s.topics.maxBatchBytes),
		kgo.BrokerMaxWriteBytes(int32(max(100<<20, s.cfg.MaxRecordBytes+(1<<20)))),
		// The credit and the meters bound what is buffered. kgo's limits would stop every session because of one.
		kgo.MaxBufferedRecords(math.MaxInt32),
		kgo.UnknownTopicRetries(2),
		kgo.WithHooks(&s.hooks),
	)
}
