package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// tail reads the output topics while the show runs, for the progress and the stalls. It is no
// member of any group.
func tail(ctx context.Context, c *cluster, sides []*side) error {
	byTopic := map[string]*side{}
	for _, s := range sides {
		byTopic[s.output] = s
	}
	cl, err := kgo.NewClient(append(c.opts, kgo.ClientID("demo-progress"), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumeTopics(sides[0].output, sides[1].output), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) { byTopic[r.Topic].observe(r, now) })
	}
	return nil
}

// readAll is the independent reader of the verdict: it shares nothing with what ran before, reads
// the whole topic from its start to its end and counts.
func readAll(ctx context.Context, c *cluster, topic string, fed *ledger) (*checker, error) {
	check := newChecker(fed)
	return check, readFrom(ctx, c, topic, nil, func(r *kgo.Record) { check.observe(r) })
}

// readUnfinished counts the inputs that the group has not committed and that have no output: nobody
// has lost those.
func readUnfinished(ctx context.Context, c *cluster, group string, check *checker) (int, error) {
	committed, err := c.adm.FetchOffsets(ctx, group)
	if err != nil {
		return 0, fmt.Errorf("read the commits of %s: %w", group, err)
	}
	n := 0
	err = readFrom(ctx, c, c.input, committed.Offsets()[c.input], func(r *kgo.Record) {
		if id, ok := idOf(r.Headers); ok && (id >= len(check.seen) || check.seen[id] == 0) {
			n++
		}
	})
	return n, err
}

// readFrom reads a topic to its present end, from these offsets, or from 0 where there is none.
func readFrom(ctx context.Context, c *cluster, topic string, starts map[int32]kadm.Offset, each func(*kgo.Record)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ends, err := c.adm.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", topic, err)
	}
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	for partition, end := range ends[topic] {
		if start := max(starts[partition].At, 0); end.Offset > start {
			left[partition], from[partition] = end.Offset, kgo.NewOffset().At(start)
		}
	}
	if len(left) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(c.opts, kgo.ClientID("demo-reader"), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			each(r)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return nil
}
