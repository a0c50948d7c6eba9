// Command franz-marks is the job by franz-go, as fast as it goes at-least-once: an input is marked
// in the promise of its output, and marks are committed (AutoCommitMarks, MarkCommitRecords).
//
// Source: the documentation of kgo.AutoCommitMarks and MarkCommitRecords, and
// examples/goroutine_per_partition_consuming/autocommit_marks of franz-go, which commits what is
// marked when partitions are revoked. Promises come in order for each partition of the output, not
// of the input: of an input that is acknowledged before the one in front of it, the mark covers
// both. ../franz-sync waits instead.
package main

import (
	"context"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/bench/peers/peer/settings"
)

func main() {
	ctx, s := settings.Read()
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.Brokers...), // a client is idempotent, with acks of all replicas, by default
		kgo.ConsumerGroup(s.Group),
		kgo.ConsumeTopics(s.Input),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(s.CommitEvery),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, _ map[string][]int32) {
			if err := cl.Flush(ctx); err != nil {
				log.Print("flush: ", err)
			}
			if err := cl.CommitMarkedOffsets(ctx); err != nil {
				log.Print("commit: ", err)
			}
		}),
	}
	if s.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(s.InstanceID))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		log.Fatal(err)
	}
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		fetches.EachError(func(topic string, p int32, err error) {
			if ctx.Err() == nil {
				log.Printf("fetch %s/%d: %v", topic, p, err)
			}
		})
		fetches.EachRecord(func(in *kgo.Record) {
			out := &kgo.Record{Topic: s.Output, Key: in.Key, Value: settings.Transform(in.Value)}
			cl.Produce(context.Background(), out, func(_ *kgo.Record, err error) {
				if err != nil {
					log.Fatal("produce: ", err)
				}
				cl.MarkCommitRecords(in)
			})
		})
	}
	cl.CloseAllowingRebalance()
}
