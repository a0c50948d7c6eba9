package pipeline

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
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
				c, a, _ := lanesOnce(b, order, n, false)
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
func (s *stored) Check(context.Context) error        { return nil }
func (s *stored) Close() error                       { return nil }
func (s *stored) Resume(string, int32) error         { return nil }
func (s *stored) Renew([]*consumer.Assignment) error { return nil }
func (s *stored) State() consumer.State              { return consumer.State{} }

// BenchmarkMovingKeys is what it costs a record of a fast handler that keys may move: pairs of runs
// in one process, in the order ABBA, with keys that move and with keys that stay where their hash
// puts them. It reports the median of the ratios of their CPU, and how many inputs were moved.
func BenchmarkMovingKeys(b *testing.B) {
	const n, pairs = 300_000, 24
	for b.Loop() {
		var ratios, more, each, moved []float64
		for i := range pairs {
			var cpu [2]float64
			for _, k := range [][]int{{0, 1}, {1, 0}}[i%2] {
				c, _, m := lanesOnce(b, PerKey, n, k == 1)
				cpu[k] = float64(c) / n
				if k == 0 {
					moved = append(moved, float64(m))
				}
			}
			ratios, more, each = append(ratios, cpu[0]/cpu[1]), append(more, cpu[0]-cpu[1]), append(each, cpu[1])
		}
		still := 0.0
		var quiet []float64
		for i, m := range moved {
			if m == 0 {
				quiet = append(quiet, more[i])
			}
		}
		if slices.Sort(quiet); len(quiet) > 0 {
			still = quiet[len(quiet)/2]
		}
		b.Logf("without moves %.0f: %.0f", still, quiet)
		for _, list := range [][]float64{ratios, more, each, moved} {
			slices.Sort(list)
		}
		b.ReportMetric(ratios[pairs/2], "ratio")
		b.ReportMetric(more[pairs/2], "more-ns/record")
		b.ReportMetric(each[pairs/2], "cpu-ns/record")
		b.ReportMetric(moved[pairs/2], "moves")
		b.Logf("ratios %.3f, more %.0f, moves %.0f", ratios, more, moved)
	}
}

// lanesOnce runs n inputs through the lanes; stay: keys stay where their hash puts them.
func lanesOnce(b *testing.B, order Order, n int, stay bool) (cpu time.Duration, allocs uint64, moves int64) {
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
	if stay {
		p.dispatcher.routing.fixed = true
		for _, l := range p.lanes {
			l.routing = nil
		}
	}
	if err := p.Run(context.Background()); err != nil {
		b.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if r := p.dispatcher.routing; r != nil {
		moves = r.moved
	}
	return s.cpu, s.allocs, moves
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
