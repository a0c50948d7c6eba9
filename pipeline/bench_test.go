package pipeline_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// The benchmarks read benchRecords inputs of 100 bytes from an embedded broker over loopback and
// write as many outputs; compare BenchmarkPipelineDirect with BenchmarkBareLoop: the franz-go loop
// that marks after acknowledgement. cmd/ackmark bench is the honest comparison, with each side in
// processes of its own; this one is for profiles.
const benchRecords = 400_000

func benchBroker(b *testing.B) *kfake.Cluster {
	b.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(6, "in", "out"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(broker.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.MaxBufferedRecords(benchRecords))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	for i := range benchRecords {
		cl.Produce(context.Background(), &kgo.Record{Topic: "in", Key: strconv.AppendInt(nil, int64(i%10_000), 10), Value: make([]byte, 100)}, nil)
	}
	if err := cl.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	return broker
}

func BenchmarkPipelineDirect(b *testing.B) { benchDirect(b, false) }

// BenchmarkPipelineDirectSourceHeaders is what SourceHeaders costs, beside BenchmarkPipelineDirect:
// five headers on each output.
func BenchmarkPipelineDirectSourceHeaders(b *testing.B) { benchDirect(b, true) }

func benchDirect(b *testing.B, source bool) {
	broker := benchBroker(b)
	run := 0
	b.ReportAllocs()
	for b.Loop() {
		run++
		ctx, cancel := context.WithCancel(context.Background())
		var n atomic.Int64
		p, err := pipeline.New(quiet(pipeline.Config{
			Consumer: consumer.Config{Brokers: broker.ListenAddrs(), Group: "g" + strconv.Itoa(run), Topics: []string{"in"}},
			Producer: ending(producer.Direct(producer.DirectConfig{Brokers: broker.ListenAddrs()}), &n, cancel), SourceHeaders: source,
			Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
				return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
			}),
		}))
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Run(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

func BenchmarkBareLoop(b *testing.B) {
	broker := benchBroker(b)
	run := 0
	b.ReportAllocs()
	for b.Loop() {
		run++
		cl, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.ConsumerGroup("g"+strconv.Itoa(run)), kgo.ConsumeTopics("in"), kgo.AutoCommitMarks(),
			kgo.MaxBufferedRecords(100_000))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var n atomic.Int64
		for ctx.Err() == nil {
			fetches := cl.PollRecords(ctx, 8192)
			fetches.EachRecord(func(in *kgo.Record) {
				cl.Produce(context.Background(), &kgo.Record{Topic: "out", Key: in.Key, Value: in.Value}, func(_ *kgo.Record, err error) {
					if err == nil {
						cl.MarkCommitRecords(in)
					}
					if n.Add(1) == benchRecords {
						cancel()
					}
				})
			})
		}
		err = cl.CommitMarkedOffsets(context.Background())
		cancel()
		if err != nil {
			b.Fatal(err)
		}
		cl.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

// BenchmarkPipelineNull is the pipeline and the consumer without any producing: a producer that
// acknowledges at once.
func BenchmarkPipelineNull(b *testing.B) {
	broker := benchBroker(b)
	run := 0
	outputs := []producer.Record{{Topic: "out", Value: make([]byte, 100)}}
	b.ReportAllocs()
	for b.Loop() {
		run++
		ctx, cancel := context.WithCancel(context.Background())
		var n atomic.Int64
		p, err := pipeline.New(quiet(pipeline.Config{
			Consumer: consumer.Config{Brokers: broker.ListenAddrs(), Group: "g" + strconv.Itoa(run), Topics: []string{"in"}},
			Producer: ending(null{}, &n, cancel),
			Handler: pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
				return outputs, nil
			}),
		}))
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Run(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

// BenchmarkFetchOnly is the consumer alone, as far as it can be without a pipeline.
func BenchmarkFetchOnly(b *testing.B) {
	broker := benchBroker(b)
	run := 0
	b.ReportAllocs()
	for b.Loop() {
		run++
		ctx, cancel := context.WithCancel(context.Background())
		c, err := consumer.New(consumer.Config{Brokers: broker.ListenAddrs(), Group: "g" + strconv.Itoa(run), Topics: []string{"in"}, HandlerTimeout: -1,
			Logger: quiet(pipeline.Config{}).Logger})
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		var ms []*consumer.Message
		err = c.Run(ctx, func(batch *consumer.Batch) {
			ms = ms[:0]
			for i := range batch.Messages {
				if m := &batch.Messages[i]; m.Start() {
					ms = append(ms, m)
				}
			}
			consumer.DoneAll(ms)
			if n += len(batch.Messages); n == benchRecords {
				cancel()
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

// null acknowledges at once.
type null struct{ producer.Producer }

func (null) Deliver(_ context.Context, units []producer.Unit, r producer.Reporter) error {
	r.Acked(0, len(units))
	return nil
}
func (null) Assign(context.Context, producer.Membership, []producer.Assignment) error { return nil }
func (null) Release(context.Context, []uint64) error                                  { return nil }
func (null) Flush(context.Context) error                                              { return nil }
func (null) Close() error                                                             { return nil }

// counting ends the run when all units are acknowledged.
type counting struct {
	producer.Producer
	n   *atomic.Int64
	end func()
}

func ending(p producer.Producer, n *atomic.Int64, end func()) producer.Producer {
	return &counting{p, n, end}
}

type countingReporter struct {
	producer.Reporter
	c *counting
}

func (c *counting) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	return c.Producer.Deliver(ctx, units, countingReporter{r, c})
}

func (r countingReporter) Acked(first, n int) {
	r.Reporter.Acked(first, n)
	if r.c.n.Add(int64(n)) == benchRecords {
		r.c.end()
	}
}
