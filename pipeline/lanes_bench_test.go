package pipeline

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// BenchmarkLanes measures this package alone: batches are fetched before the clock starts, the
// producer acknowledges at once. It reports CPU time and allocations per record, with the handler's
// (none) and the consumer's Start and Done in it.
func BenchmarkLanes(b *testing.B) {
	for _, order := range []Order{PerKey, PerPartition, Unordered} {
		b.Run(order.String(), func(b *testing.B) {
			const n = 300_000
			var cpu time.Duration
			var allocs uint64
			for b.Loop() {
				c, a := lanesOnce(b, order, n)
				cpu += c
				allocs += a
			}
			b.ReportMetric(float64(cpu)/float64(b.N)/n, "cpu-ns/record")
			b.ReportMetric(float64(allocs)/float64(b.N)/n, "allocs/record")
		})
	}
}

// stored is a source that hands out what was fetched before.
type stored struct {
	batches []*consumer.Batch
	n       *atomic.Int64
	done    chan struct{}
	cpu     time.Duration
	allocs  uint64
}

func (s *stored) Run(_ context.Context, deliver func(*consumer.Batch)) error {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	from := cpuTime()
	for _, batch := range s.batches {
		deliver(batch)
	}
	<-s.done
	s.cpu = cpuTime() - from
	runtime.ReadMemStats(&after)
	s.allocs = after.Mallocs - before.Mallocs
	return nil
}
func (s *stored) Check(context.Context) error { return nil }
func (s *stored) Close() error                { return nil }
func (s *stored) Resume(string, int32) error  { return nil }
func (s *stored) State() consumer.State       { return consumer.State{} }

func lanesOnce(b *testing.B, order Order, n int) (time.Duration, uint64) {
	b.Helper()
	b.StopTimer()
	defer b.StartTimer()
	// Nothing is done while all is fetched, and a partition hands out no more than a done-set could
	// describe then (24,000): with six partitions the last inputs never came.
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(18, "in"))
	if err != nil {
		b.Fatal(err)
	}
	defer broker.Close()
	feed(b, broker, n)
	log := slog.New(slog.DiscardHandler)
	c, err := consumer.New(consumer.Config{Brokers: broker.ListenAddrs(), Group: "g", Topics: []string{"in"}, MaxBytes: 1 << 40, MaxRecords: 10 * n,
		HandlerTimeout: -1, Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &stored{n: new(atomic.Int64), done: make(chan struct{})}
	fetched := make(chan struct{})
	ended := make(chan error)
	got := 0
	go func() {
		ended <- c.Run(ctx, func(batch *consumer.Batch) {
			s.batches = append(s.batches, batch)
			if got += len(batch.Messages); got == n {
				close(fetched)
			}
		})
	}()
	select {
	case <-fetched:
	case err := <-ended:
		b.Fatalf("the consumer ended before all was fetched: %v", err)
	case <-time.After(time.Minute):
		b.Fatalf("%d inputs are not all fetched after a minute; those handed out: %+v", n, c.State())
	}

	p := &Pipeline{cfg: Config{Producer: &instant{s, int64(n)}, Order: order, Logger: log, Handler: benchHandler()}.withDefaults(), log: log}
	p.build(s)
	if err := p.Run(context.Background()); err != nil {
		b.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return s.cpu, s.allocs
}

func benchHandler() Handler {
	outputs := []producer.Record{{Topic: "out", Value: make([]byte, 100)}}
	return HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) { return outputs, nil })
}

func feed(b *testing.B, broker *kfake.Cluster, n int) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.MaxBufferedRecords(n))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	for i := range n {
		cl.Produce(context.Background(), &kgo.Record{Topic: "in", Key: strconv.AppendInt(nil, int64(i%10_000), 10), Value: make([]byte, 100)}, nil)
	}
	if err := cl.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// instant acknowledges at once.
type instant struct {
	s *stored
	n int64
}

func (i *instant) Deliver(_ context.Context, units []producer.Unit, r producer.Reporter) error {
	r.Acked(0, len(units))
	if i.s.n.Add(int64(len(units))) == i.n {
		close(i.s.done)
	}
	return nil
}
func (*instant) Emit(context.Context, producer.Record) (producer.Ack, error) {
	return producer.Ack{}, nil
}
func (*instant) EmitAsync(producer.Record, func(producer.Ack, error))                     {}
func (*instant) Assign(context.Context, producer.Membership, []producer.Assignment) error { return nil }
func (*instant) Release(context.Context, []uint64) error                                  { return nil }
func (*instant) Flush(context.Context) error                                              { return nil }
func (*instant) Check(context.Context) error                                              { return nil }
func (*instant) Close() error                                                             { return nil }
