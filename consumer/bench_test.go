package consumer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const benchRecords = 300_000

// benchCluster holds benchRecords of 100 bytes in 6 partitions, on loopback TCP.
func benchCluster(b *testing.B) []string {
	b.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(6, topic))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	value := bytes.Repeat([]byte("v"), 100)
	for range benchRecords {
		cl.Produce(context.Background(), &kgo.Record{Topic: topic, Key: value[:10], Value: value}, nil)
	}
	if err := cl.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	return c.ListenAddrs()
}

// BenchmarkRead is the whole way of reading, against the bare loop with AutoCommitMarks. Pair the
// results of one run; see docs/benchmarks.md for the whole job.
func BenchmarkRead(b *testing.B) {
	addrs := benchCluster(b)
	n := 0
	groupName := func() string { n++; return fmt.Sprintf("g%d", n) }
	for name, read := range map[string]func(ctx context.Context, group string) int{
		"bare-marks": func(ctx context.Context, group string) int { return readBare(b, ctx, addrs, group) },
		"deliver":    func(ctx context.Context, group string) int { return readDeliver(b, ctx, addrs, group) },
		"messages":   func(ctx context.Context, group string) int { return readMessages(b, ctx, addrs, group) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			total := 0
			for b.Loop() {
				total += read(context.Background(), groupName())
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/record")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(total), "allocs/record")
		})
	}
}

func readBare(b *testing.B, ctx context.Context, addrs []string, group string) int {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	n := 0
	for n < benchRecords {
		fetches := cl.PollFetches(ctx)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			n += len(p.Records)
			cl.MarkCommitRecords(p.Records...)
		})
	}
	return n
}

func benchConsumer(b *testing.B, addrs []string, group string) *Consumer {
	c, err := New(Config{Brokers: addrs, Group: group, Topics: []string{topic}, Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func readDeliver(b *testing.B, ctx context.Context, addrs []string, group string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := 0
	err := benchConsumer(b, addrs, group).Run(ctx, func(batch *Batch) {
		for i := range batch.Messages {
			if m := &batch.Messages[i]; m.Start() {
				n++
				m.Done(nil)
			}
		}
		if n == benchRecords {
			cancel()
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func readMessages(b *testing.B, ctx context.Context, addrs []string, group string) int {
	n := 0
	for m, err := range benchConsumer(b, addrs, group).Messages(ctx) {
		if err != nil {
			b.Fatal(err)
		}
		m.Done(nil)
		if n++; n == benchRecords {
			break
		}
	}
	return n
}

// BenchmarkOverhead is what this package adds to a record, without the client: add, Start and Done.
func BenchmarkOverhead(b *testing.B) {
	const size = 1000
	c, err := New(minimal())
	if err != nil {
		b.Fatal(err)
	}
	recs := make([]*kgo.Record, size)
	for i := range recs {
		recs[i] = &kgo.Record{Topic: topic, Value: make([]byte, 100), LeaderEpoch: 1}
	}
	next := int64(0)
	add := func(p *partition) *run {
		for _, r := range recs {
			r.Offset = next
			next++
		}
		r, err := p.add(&kgo.FetchPartition{Records: recs, HighWatermark: next}, 0)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	report := func(b *testing.B, begun int64) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/record")
		b.ReportMetric(float64(cpuTime()-begun)/float64(b.N*size), "cpu-ns/record")
	}
	b.Run("one by one", func(b *testing.B) {
		next = 0
		p := newPartition(c.around, &Assignment{Topic: topic}, 0)
		b.ReportAllocs()
		begun := cpuTime()
		for b.Loop() {
			r := add(p)
			for i := range r.Messages {
				if m := &r.Messages[i]; m.Start() {
					m.Done(nil)
				}
			}
		}
		report(b, begun)
	})
	b.Run("DoneAll", func(b *testing.B) {
		next = 0
		p := newPartition(c.around, &Assignment{Topic: topic}, 0)
		ms := make([]*Message, size)
		b.ReportAllocs()
		begun := cpuTime()
		for b.Loop() {
			r := add(p)
			for i := range r.Messages {
				ms[i] = &r.Messages[i]
				ms[i].Start()
			}
			DoneAll(ms)
		}
		report(b, begun)
	})
}
