// Command franz-sync is the job by franz-go as its example has it: a goroutine for each partition
// writes the outputs of what was polled, waits for all of them, and marks their inputs.
//
// Source: examples/goroutine_per_partition_consuming/autocommit_marks of franz-go, with
// Client.ProduceSync where the example sleeps.
package main

import (
	"context"
	"log"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/bench/peers/peer/settings"
)

// partition is read by one goroutine.
type partition struct {
	records chan []*kgo.Record
	quit    chan struct{}
	done    chan struct{}
}

type workers struct {
	output string
	all    map[int32]*partition // rebalances are blocked while it is used: no lock
}

func (w *workers) assigned(_ context.Context, cl *kgo.Client, added map[string][]int32) {
	for _, partitions := range added {
		for _, id := range partitions {
			p := &partition{make(chan []*kgo.Record, 5), make(chan struct{}), make(chan struct{})}
			w.all[id] = p
			go w.work(cl, p)
		}
	}
}

func (w *workers) work(cl *kgo.Client, p *partition) {
	defer close(p.done)
	for {
		select {
		case <-p.quit:
			return
		case in := <-p.records:
			out := make([]*kgo.Record, len(in))
			for i, r := range in {
				out[i] = &kgo.Record{Topic: w.output, Key: r.Key, Value: settings.Transform(r.Value)}
			}
			if err := cl.ProduceSync(context.Background(), out...).FirstErr(); err != nil {
				log.Fatal("produce: ", err)
			}
			cl.MarkCommitRecords(in...)
		}
	}
}

func (w *workers) revoked(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	w.lost(ctx, cl, gone)
	if err := cl.CommitMarkedOffsets(ctx); err != nil {
		log.Print("commit: ", err)
	}
}

func (w *workers) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	var wait sync.WaitGroup
	defer wait.Wait()
	for _, partitions := range gone {
		for _, id := range partitions {
			p := w.all[id]
			delete(w.all, id)
			close(p.quit)
			wait.Go(func() { <-p.done })
		}
	}
}

func main() {
	ctx, s := settings.Read()
	w := &workers{output: s.Output, all: map[int32]*partition{}}
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.Brokers...),
		kgo.ConsumerGroup(s.Group),
		kgo.ConsumeTopics(s.Input),
		kgo.OnPartitionsAssigned(w.assigned),
		kgo.OnPartitionsRevoked(w.revoked),
		kgo.OnPartitionsLost(w.lost),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(s.CommitEvery),
		kgo.BlockRebalanceOnPoll(),
	}
	if s.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(s.InstanceID))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		log.Fatal(err)
	}
	for ctx.Err() == nil {
		fetches := cl.PollRecords(ctx, 10000)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 {
				w.all[p.Partition].records <- p.Records
			}
		})
		cl.AllowRebalance()
	}
	cl.CloseAllowingRebalance()
}
