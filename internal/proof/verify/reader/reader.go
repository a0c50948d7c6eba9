// Package reader reads whole topics, independently of everything under test: its own client, no
// group, every partition from its first record to the end it had when the reading began.
package reader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// Topic calls fn for every record that the topic has now, each partition in order. opts say how to
// reach the brokers; they must not consume. Records of transactions count whether they were
// committed or not.
func Topic(ctx context.Context, opts []kgo.Opt, topic string, fn func(*kgo.Record)) error {
	return Rest(ctx, opts, topic, nil, fn)
}

// Rest is Topic without the records below these offsets, by partition.
func Rest(ctx context.Context, opts []kgo.Opt, topic string, starts map[int32]int64, fn func(*kgo.Record)) error {
	from, to, err := bounds(ctx, opts, topic, starts)
	if err != nil {
		return fmt.Errorf("reading topic %q: %w", topic, err)
	}
	if len(to) == 0 {
		return nil // no record in any partition
	}
	// Control records are kept, because a partition can end with one: without them its end would
	// never come.
	cl, err := kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.KeepControlRecords())...)
	if err != nil {
		return fmt.Errorf("reading topic %q: %w", topic, err)
	}
	defer cl.Close()
	for len(to) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fetchError(ctx, fs); err != nil {
			return fmt.Errorf("reading topic %q, partitions left %v: %w", topic, to, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			end, reading := to[r.Partition]
			if !reading {
				return // written after the reading began
			}
			if !r.Attrs.IsControl() && r.Offset < end {
				fn(r)
			}
			if r.Offset >= end-1 {
				delete(to, r.Partition)
			}
		})
	}
	return nil
}

// fetchError returns what makes it useless to go on; the client retries everything else by itself.
func fetchError(ctx context.Context, fs kgo.Fetches) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var errs []error
	fs.EachError(func(_ string, p int32, err error) {
		if !kerr.IsRetriable(err) {
			errs = append(errs, fmt.Errorf("partition %d: %w", p, err))
		}
	})
	return errors.Join(errs...)
}

const askAgain = 100 * time.Millisecond

// bounds returns where to begin and, for partitions that have records, where to stop.
func bounds(ctx context.Context, opts []kgo.Opt, topic string, least map[int32]int64) (from map[int32]kgo.Offset, to map[int32]int64, err error) {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, nil, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err = errors.Join(err, starts.Error()); err != nil {
		return nil, nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	for err = errors.Join(err, ends.Error()); errors.Is(err, kerr.OffsetNotAvailable) && ctx.Err() == nil; err = errors.Join(err, ends.Error()) {
		<-time.After(askAgain) // a leader that was just elected does not know it yet
		ends, err = adm.ListEndOffsets(ctx, topic)
	}
	if err != nil {
		return nil, nil, err
	}
	from, to = make(map[int32]kgo.Offset), make(map[int32]int64)
	ends.Each(func(o kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, o.Partition)
		if first := max(start.Offset, least[o.Partition]); o.Offset > first {
			from[o.Partition] = kgo.NewOffset().At(first)
			to[o.Partition] = o.Offset
		}
	})
	return from, to, nil
}

// Outputs reads an input topic and an output topic, in this order, and returns what became of the
// inputs.
func Outputs(ctx context.Context, opts []kgo.Opt, input, output string, cfg verify.OutputsConfig) (verify.OutputsResult, error) {
	check := verify.NewOutputs(cfg)
	err := Topic(ctx, opts, input, func(r *kgo.Record) { check.Input(r.Value) })
	if err == nil {
		err = Topic(ctx, opts, output, func(r *kgo.Record) { check.Add(r.Partition, r.Offset, r.Key, r.Value) })
	}
	return check.Result(), err
}

// Lag returns how many offsets of a topic the group has not committed: 0 when it has come to rest
// at the end. What was never committed counts from the topic's start, also for a group that does
// not exist.
func Lag(ctx context.Context, cl *kgo.Client, group, topic string) (int64, error) {
	adm := kadm.NewClient(cl)
	committed, err := adm.FetchOffsetsForTopics(ctx, group, topic)
	if err = errors.Join(err, committed.Error()); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return 0, fmt.Errorf("committed offsets of group %q: %w", group, err)
	}
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err = errors.Join(err, starts.Error()); err != nil {
		return 0, fmt.Errorf("start of topic %q: %w", topic, err)
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return 0, fmt.Errorf("end of topic %q: %w", topic, err)
	}
	var lag int64
	ends.Each(func(o kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, o.Partition)
		at := start.Offset
		if c, ok := committed.Lookup(topic, o.Partition); ok && c.At > at {
			at = c.At
		}
		lag += max(0, o.Offset-at)
	})
	return lag, nil
}
