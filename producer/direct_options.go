package producer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/hostport"
	"github.com/ackmark/ackmark/internal/kgoopt"
)

// checkOptions refuses the options that would break a promise, by name.
func checkOptions(opts []kgo.Opt) error {
	if i := slices.Index(opts, nil); i >= 0 {
		return fmt.Errorf("DirectConfig.Options[%d] is nil: remove it", i)
	}
	if err := refused(kgoopt.Check(kgoopt.Direct, opts)); err != nil {
		return err
	}
	theirs, err := kgoopt.Probe(opts)
	if err != nil {
		return fmt.Errorf("DirectConfig.Options: %w", err)
	}
	defer theirs.Close()
	plain, err := kgoopt.Probe(nil)
	if err != nil {
		return err
	}
	defer plain.Close()
	return refused(kgoopt.CheckValues(kgoopt.Direct, theirs, plain))
}

func refused(list []kgoopt.Refusal) error {
	var errs []error
	for _, r := range list {
		field := "DirectConfig.Options"
		if r.Index >= 0 {
			field = fmt.Sprintf("DirectConfig.Options[%d]", r.Index)
		}
		errs = append(errs, fmt.Errorf("%s: kgo.%s is refused: %s; %s", field, r.Option, r.Reason, r.Remedy))
	}
	return errors.Join(errs...)
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
