package pipelinetest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/pipeline"
)

// Record makes an input for Feed. An empty key means none.
func Record(key, value string) *kgo.Record {
	r := &kgo.Record{Value: []byte(value)}
	if key != "" {
		r.Key = []byte(key)
	}
	return r
}

// Feed writes inputs in order and waits until the broker has them. Those without a topic go to the
// first input topic; the key chooses the partition.
func (h *Harness) Feed(records ...*kgo.Record) {
	h.t.Helper()
	for _, r := range records {
		if r.Topic == "" {
			r.Topic = h.input
		}
	}
	ctx, cancel := h.context()
	defer cancel()
	h.must(h.client.ProduceSync(ctx, records...).FirstErr())
}

// Outputs reads everything that a topic holds now, by partition and offset: what a reader of the
// topic sees.
func (h *Harness) Outputs(topic string) []*kgo.Record {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	ends, err := h.admin.ListEndOffsets(ctx, topic)
	h.must(err)
	h.must(ends.Error())
	left := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	for id, end := range ends[topic] {
		if end.Offset > 0 {
			left[id], from[id] = end.Offset, kgo.NewOffset().AtStart()
		}
	}
	if len(left) == 0 {
		return nil
	}
	cl := h.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchMaxWait(10*time.Millisecond))
	defer cl.Close()
	var all []*kgo.Record
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		h.must(fetches.Err0())
		h.must(context.Cause(ctx))
		fetches.EachRecord(func(r *kgo.Record) {
			if end, ok := left[r.Partition]; ok && r.Offset < end {
				all = append(all, r)
				if r.Offset == end-1 {
					delete(left, r.Partition)
				}
			}
		})
	}
	slices.SortFunc(all, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return all
}

// Committed returns what the group has committed for a partition: the offset of the first input
// that is not done. -1: nothing yet.
func (h *Harness) Committed(topic string, partition int32) int64 {
	h.t.Helper()
	if info := h.broker.GroupInfo(h.group); info != nil {
		if c, ok := info.Commits[topic][partition]; ok {
			return c.Offset
		}
	}
	return -1
}

// State is the pipeline's.
func (h *Harness) State() pipeline.State { return h.pipeline.State() }

// FailProduce lets the broker refuse writes to a topic with the error: the next count produce
// requests, or all until the handle's Remove when count is -1. kerr.RequestTimedOut and
// kerr.NotEnoughReplicasAfterAppend are answered although the records are written: the lost
// acknowledgement.
func (h *Harness) FailProduce(topic string, err *kerr.Error, count int) *kfake.FaultHandle {
	return h.broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: err, Count: count})
}

// Join adds another member to the group, which takes its share of the partitions and reads nothing.
// It returns when both are settled. leave makes it leave, and returns when the pipeline has
// everything again.
func (h *Harness) Join() (leave func()) {
	h.t.Helper()
	h.settled(1)
	other, err := kgo.NewClient(append(h.Options(), kgo.ConsumerGroup(h.group), kgo.ConsumeTopics(h.input), kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(100*time.Millisecond))...)
	h.must(err)
	closing := sync.OnceFunc(other.CloseAllowingRebalance)
	h.t.Cleanup(closing)
	h.settled(2)
	return func() {
		h.t.Helper()
		closing()
		h.settled(1)
	}
}

// Rebalance takes partitions from the pipeline and gives them back: Join, then leave.
func (h *Harness) Rebalance() {
	h.t.Helper()
	h.Join()()
}

// settled waits until the group has that many members, all of whom hold something, and nothing is
// on the move.
func (h *Harness) settled(members int) {
	h.t.Helper()
	h.Wait("the group to settle", func() bool {
		ctx, cancel := h.context()
		defer cancel()
		if _, err := h.broker.WaitGroupStable(ctx, h.group, members); err != nil {
			return false
		}
		mine := len(h.State().Consumer.Partitions)
		total := len(h.broker.PartitionInfos(h.input))
		return members == 1 && mine == total || members > 1 && mine > 0 && mine < total
	})
}

// Wait waits until cond is true, and fails the test after the timeout, saying for what it waited.
func (h *Harness) Wait(what string, cond func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(h.timeout); !cond(); {
		if time.Now().After(deadline) {
			h.t.Fatalf("pipelinetest: waited %s for %s; state: %+v", h.timeout, what, h.State())
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-h.ended:
			if !cond() {
				h.t.Fatalf("pipelinetest: the pipeline ended while the test waited for %s: %v", what, h.err)
			}
		}
	}
}

// WaitDone waits until at least n inputs are done.
func (h *Harness) WaitDone(n int) {
	h.t.Helper()
	h.Wait("inputs to be done", func() bool { return h.State().Done >= int64(n) })
}

// WaitCommitted waits until the group has committed at least offset for a partition.
func (h *Harness) WaitCommitted(topic string, partition int32, offset int64) {
	h.t.Helper()
	h.Wait("a commit", func() bool { return h.Committed(topic, partition) >= offset })
}

// WaitIdle waits until everything fed to the input topics is done and committed.
func (h *Harness) WaitIdle() {
	h.t.Helper()
	h.Wait("the lag to be 0", func() bool {
		for _, p := range h.broker.PartitionInfos(h.input) {
			if p.HighWatermark > 0 && h.Committed(h.input, p.Partition) < p.HighWatermark {
				return false
			}
		}
		for _, p := range h.State().Consumer.Partitions { // it learns of a commit after the broker
			if p.AckMark > 0 && p.Committed < p.AckMark {
				return false
			}
		}
		return true
	})
}

// WaitHalted waits until a partition has halted, and returns why.
func (h *Harness) WaitHalted() (why error) {
	h.t.Helper()
	h.Wait("a partition to halt", func() bool {
		for _, p := range h.State().Consumer.Partitions {
			if p.Halted != nil {
				why = p.Halted
			}
		}
		return why != nil
	})
	return why
}

func (h *Harness) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), h.timeout)
}

// FeedTo writes inputs to one partition of the first input topic.
func (h *Harness) FeedTo(partition int32, records ...*kgo.Record) {
	h.t.Helper()
	cl := h.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	defer cl.Close()
	for _, r := range records {
		r.Topic, r.Partition = h.input, partition
	}
	ctx, cancel := h.context()
	defer cancel()
	h.must(cl.ProduceSync(ctx, records...).FirstErr())
}
