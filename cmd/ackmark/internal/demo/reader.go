package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// tail reads the output topics while the show runs, for the progress and the stalls. It is no
// member of any group.
func tail(ctx context.Context, c *cluster, sides []*side) error {
	byTopic := map[string]*side{}
	for _, s := range sides {
		byTopic[s.output] = s
	}
	cl, err := kgo.NewClient(append(c.opts, kgo.ClientID("demo-progress"), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeTopics(slices.Collect(maps.Keys(byTopic))...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
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

// readTimeout bounds the reading of a topic.
const readTimeout = time.Minute

// readAll is the independent reader of the verdict: it shares nothing with what ran before, reads
// the whole topic from its start to its end and counts. It sees what is committed, like every
// reader of exactly-once outputs; the other sides know no transactions.
func readAll(ctx context.Context, c *cluster, topic string, check *checker) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	opts := append(slices.Clone(c.opts), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	return reader.Topic(ctx, opts, topic, func(r *kgo.Record) { check.observe(r) })
}

// countAborted counts what a reader sees beyond the outputs who does not ask for committed records.
func countAborted(ctx context.Context, c *cluster, topic string, outputs int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	all := 0
	err := reader.Topic(ctx, c.opts, topic, func(*kgo.Record) { all++ })
	return all - outputs, err
}

// readUnfinished counts the inputs that the group has not committed and that have no output: nobody
// has lost those.
func readUnfinished(ctx context.Context, c *cluster, group string, check *checker) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	committed, err := c.adm.FetchOffsets(ctx, group)
	if err != nil {
		return 0, fmt.Errorf("read the commits of %s: %w", group, err)
	}
	starts := map[int32]int64{}
	for partition, at := range committed.Offsets()[c.input] {
		starts[partition] = at.At
	}
	n := 0
	err = reader.Rest(ctx, c.opts, c.input, starts, func(r *kgo.Record) {
		if id, ok := idOf(r.Headers); ok && check.missing(id) {
			n++
		}
	})
	return n, err
}
