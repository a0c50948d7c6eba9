package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// tail reads the output topics while the show runs, for the progress and the stalls. It is no member of any group.
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

// readAll is the independent reader of the verdict: it shares nothing with what ran before, reads the whole topic from its start to its end
// and counts.
func readAll(ctx context.Context, c *cluster, topic string, fed *ledger) (counts, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	check := newChecker(fed)
	ends, err := c.adm.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return counts{}, fmt.Errorf("read %s: %w", topic, err)
	}
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	for partition, end := range ends[topic] {
		if end.Offset > 0 {
			left[partition], from[partition] = end.Offset, kgo.NewOffset().At(0)
		}
	}
	cl, err := kgo.NewClient(append(c.opts, kgo.ClientID("demo-reader"), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))...)
	if err != nil {
		return counts{}, err
	}
	defer cl.Close()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return counts{}, fmt.Errorf("read %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			check.observe(r)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return check.counts, nil
}
