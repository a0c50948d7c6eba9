package producer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/hostport"
)

// refusal says why an option of the user's would break a promise, and what to do instead.
type refusal struct{ option, reason, remedy string }

var (
	forConsumers = refusal{"", "this client only produces: a second member of the group would take partitions away from the consumer",
		"give it to the consumer's options only"}

	// refusedByName are recognised before a client exists, because creating one with them has effects already (it joins the group), or because
	// the client's own settings follow from them.
	refusedByName = []refusal{
		{"ConsumerGroup", forConsumers.reason, forConsumers.remedy},
		{"ShareGroup", forConsumers.reason, forConsumers.remedy},
		{"ConsumeTopics", "this client only produces", forConsumers.remedy},
		{"ConsumePartitions", "this client only produces", forConsumers.remedy},
		{"WithContext", "when that context ends, records on their way would never be reported (S12)", "remove it; Close ends the producer"},
		{"RecordPartitioner", "a key must keep its partition on every path: murmur2, as the sidecar and the Java client do",
			"set Record.Partition for records that need another one"},
		{"MaxBufferedRecords", "kgo would block or fail records out of order", "set DirectConfig.MaxBufferedRecords"},
		{"MaxBufferedBytes", "kgo would block or fail records out of order", "set DirectConfig.MaxBufferedBytes"},
		{"RecordRetries", "a record given up while others of its key go on would be skipped; produce errors that may pass are retried for ever", "remove it"},
		{"RecordDeliveryTimeout", "a record given up while others of its key go on would be skipped; produce errors that may pass are retried for ever",
			"remove it, and bound the wait by the context of Emit"},
		{"AllowIdempotentProduceCancellation", "a cancelled record may be in Kafka all the same, so its report would lie (S12)", "remove it"},
		{"DisableIdempotentWrite", "a retry could write a record twice or out of order (S7)", "remove it"},
		{"TransactionalID", "this producer does not begin transactions, so every record would fail", "remove it; exactly-once goes through the sidecar"},
		{"ManualFlushing", "nobody would flush", "remove it, and set kgo.ProducerLinger for larger batches"},
		{"DefaultProduceTopicAlways", "records would go to another topic than the one they name", "remove it and set Record.Topic"},
	}
)

// checkOptions refuses the options that would break a promise, by name.
func checkOptions(opts []kgo.Opt) error {
	var errs []error
	for i, opt := range opts {
		name := optionName(opt)
		for _, r := range refusedByName {
			if strings.Contains(name, "."+r.option+".func") {
				errs = append(errs, fmt.Errorf("DirectConfig.Options[%d]: kgo.%s is refused: %s; %s", i, r.option, r.reason, r.remedy))
			}
		}
	}
	return errors.Join(errs...)
}

// optionName returns the name of the function that made the option, like …/kgo.RequiredAcks.func1. kgo has no other way to learn an
// option before a client runs with it; a test holds that every option in the table is recognised.
func optionName(opt kgo.Opt) string {
	v := reflect.ValueOf(opt)
	if v.Kind() != reflect.Struct || v.NumField() == 0 || v.Field(0).Kind() != reflect.Func {
		return ""
	}
	if f := runtime.FuncForPC(v.Field(0).Pointer()); f != nil {
		return f.Name()
	}
	return ""
}

func newDirectClient(cfg DirectConfig) (*kgo.Client, error) {
	if err := checkOptions(cfg.Options); err != nil {
		return nil, err
	}
	opts := []kgo.Opt{kgo.ClientID("ackmark"), kgo.WithLogger(kgoLog{cfg.Logger})}
	opts = append(opts, cfg.Options...)
	if b, bad := hostport.FirstBad(cfg.Brokers); bad {
		return nil, fmt.Errorf("DirectConfig.Brokers: %q: %s", b, hostport.Remedy)
	}
	if len(cfg.Brokers) > 0 {
		opts = append(opts, kgo.SeedBrokers(cfg.Brokers...))
	}
	opts = append(opts,
		kgo.RecordPartitioner(pinned{kgo.StickyKeyPartitioner(nil)}),
		kgo.MaxBufferedRecords(math.MaxInt), // our own budget blocks, before a call and never inside it
	)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("DirectConfig.Options: %w", err)
	}
	if len(cfg.Brokers) == 0 && isDefaultSeed(cl) {
		err = errors.New("DirectConfig.Brokers: no broker given: name at least one host:port, or use kgo.SeedBrokers in Options")
	} else if cl.OptValue(kgo.RequiredAcks) != kgo.AllISRAcks() {
		err = errors.New("DirectConfig.Options: kgo.RequiredAcks is refused: only acks=all makes an acknowledgement durable; remove it")
	}
	if err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// isDefaultSeed tells that nobody named a broker: kgo would try 127.0.0.1:9092, and a forgotten setting would look like a broker that is down.
func isDefaultSeed(cl *kgo.Client) bool {
	seeds, _ := cl.OptValue(kgo.SeedBrokers).([]string)
	return len(seeds) == 0 || len(seeds) == 1 && seeds[0] == "127.0.0.1"
}

// pin is the context of a record with a partition of its own. The record's Partition field cannot tell: kgo writes its
// first choice there before it asks the partitioner again for a new batch.
type pin struct {
	context.Context
	partition int32
}

// pinned lets a record choose its partition, and asks the inner partitioner for the others.
type pinned struct{ inner kgo.Partitioner }

func (p pinned) ForTopic(topic string) kgo.TopicPartitioner {
	inner := p.inner.ForTopic(topic)
	onNew, _ := inner.(kgo.TopicPartitionerOnNewBatch)
	return &pinnedTopic{inner, onNew}
}

type pinnedTopic struct {
	inner kgo.TopicPartitioner
	onNew kgo.TopicPartitionerOnNewBatch
}

func (p *pinnedTopic) RequiresConsistency(r *kgo.Record) bool {
	if _, ok := r.Context.(*pin); ok {
		return true
	}
	return p.inner.RequiresConsistency(r)
}

func (p *pinnedTopic) Partition(r *kgo.Record, n int) int {
	if at, ok := r.Context.(*pin); ok {
		return int(at.partition)
	}
	return p.inner.Partition(r, n)
}

func (p *pinnedTopic) OnNewBatch() {
	if p.onNew != nil {
		p.onNew.OnNewBatch()
	}
}
