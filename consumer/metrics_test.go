package consumer

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// The five lags, the oldest input and the gap of a partition, while one input is held, and what
// became of all in the end.
func TestMetricsOfAConsumer(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 20)
		meter, held := measured.New(), &holder{}
		cfg := l.config()
		cfg.MeterProvider = meter
		m := l.start(cfg, func(b *Batch) {
			for i := range b.Messages {
				switch in := &b.Messages[i]; {
				case in.Offset >= 15: // it waits for a handler
				case in.Start() && in.Offset != 5:
					in.Done(nil)
				default:
					held.hold(in)
				}
			}
		})
		l.untilCommitted(0, 5)
		v, zero := meter.Collect(t), telemetry.Partition.String("0")
		v.Want(t, 20, telemetry.LogEnd, zero)
		v.Want(t, 0, telemetry.FetchLag, zero)
		v.Want(t, 5, telemetry.HandleLag, zero)
		v.Want(t, 15, telemetry.AckLag, zero)
		v.Want(t, 15, telemetry.CommitLag, zero)
		v.Want(t, 5, telemetry.OldestOffset, zero)
		v.Want(t, 9, telemetry.Gap, zero)
		v.Want(t, 0, telemetry.Gap, telemetry.Partition.String("1"))
		v.Want(t, 20, telemetry.Consumed, telemetry.Topic.String(topic), telemetry.Group.String(groupName))
		meter.Collect(t).Want(t, 20, telemetry.Consumed) // to look counts nothing
		v.Want(t, 14, telemetry.Done)
		for row, of := range map[*telemetry.Metric]attribute.KeyValue{
			telemetry.OldestOffset: telemetry.Partition.String("1"), // caught up
			telemetry.Rebalances:   telemetry.Outcome.String(byLost),
		} {
			if is, series := v.Sum(row, of); is != 0 || series != 1 {
				t.Errorf("%s of %v is %v in %d series, want 0 in one: what comes and goes has no rate", row.Name, of, is, series)
			}
		}
		v.Want(t, 1, telemetry.Rebalances, telemetry.Outcome.String(byAssign))
		v.Want(t, 1, telemetry.RebalanceTime)
		v.Want(t, 1, telemetry.RebalanceTime, telemetry.Outcome.String(byAssign))
		v.Want(t, 0, telemetry.CommitBeyond, telemetry.Group.String(groupName))
		v.Want(t, 0, telemetry.InputSkipped, telemetry.Group.String(groupName))
		if age, _ := v.Sum(telemetry.OldestAge, zero); age <= 0 {
			t.Errorf("the oldest input is %v s old", age)
		}
		if n, _ := v.Sum(telemetry.Commits); n < 1 {
			t.Errorf("%v commits", n)
		}
		if bad := v.Unlisted(); len(bad) > 0 {
			t.Errorf("attributes that no row has: %q", bad)
		}
		m.Fence(errors.New("the sidecar has spoken")) // one runs; its outcome counts for nothing
		l.until("the partitions are lost", func() bool {
			v = meter.Collect(t)
			lost, _ := v.Sum(telemetry.Rebalances, telemetry.Outcome.String(byLost))
			return lost == 1
		})
		v.Want(t, 1, telemetry.Repeats, telemetry.Reason.String(repeatCauses[repeatLost]), telemetry.Topic.String(topic))
		v.Want(t, 1, telemetry.RebalanceTime, telemetry.Outcome.String(byLost))
		held.messages()[0].Done(errors.New("late"))
	})
}

// A partition that halts says so, and one that a topic's worth of others is joined with counts.
func TestMetricsPerTopic(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		for p := range int32(4) {
			l.feed(p, 10)
		}
		meter := measured.New()
		cfg := l.config()
		cfg.MeterProvider, cfg.MetricsPerTopic = meter, true
		l.start(cfg, func(b *Batch) {
			for i := range b.Messages {
				if in := &b.Messages[i]; in.Start() && in.Offset == 4 {
					in.Done(errors.New("poison"))
				} else if in.Offset < 4 {
					in.Done(nil)
				}
			}
		})
		for p := range int32(4) {
			l.untilCommitted(p, 4)
		}
		v := meter.Collect(t)
		v.Want(t, 24, telemetry.AckLag, telemetry.Topic.String(topic))
		v.Want(t, 10, telemetry.LogEnd) // the largest
		v.Want(t, 4, telemetry.Paused, telemetry.Reason.String("halted"))
		for _, row := range []*telemetry.Metric{telemetry.AckLag, telemetry.LogEnd, telemetry.OldestAge, telemetry.Paused} {
			if _, series := v.Sum(row); series != 1 {
				t.Errorf("%s has %d series", row.Name, series)
			}
		}
	})
}

// What a sentinel finds is told: each commit above an open input, and each time that inputs are
// skipped.
func TestSentinelsOfAConsumerAreTold(t *testing.T) {
	meter := measured.New()
	c := holds(t, Config{MeterProvider: meter}, 1)
	defer c.around.metrics.begin(c)()
	p, of := c.parts.find(topic, 0), telemetry.Group.String(groupName)
	p.check(assignment.Commit{Offset: 0})
	v := meter.Collect(t)
	v.Want(t, 0, telemetry.CommitBeyond, of)
	v.Want(t, 0, telemetry.InputSkipped, of)
	p.check(assignment.Commit{Offset: 1}) // its first input is open
	v = meter.Collect(t)
	v.Want(t, 1, telemetry.CommitBeyond, of)
	v.Want(t, 0, telemetry.InputSkipped, of)
	p.seen.records++ // one was fetched that nobody was handed
	p.check(assignment.Commit{Offset: 0})
	p.checkStart(-1)
	p.assignment.Start = 1
	p.checkStart(0)
	v = meter.Collect(t)
	v.Want(t, 1, telemetry.CommitBeyond, of)
	v.Want(t, 2, telemetry.InputSkipped, of)
}

// holds makes a consumer that holds so many partitions, with some inputs each. It has no broker.
func holds(tb testing.TB, cfg Config, partitions int) *Consumer {
	tb.Helper()
	cfg.Brokers, cfg.Group, cfg.Topics, cfg.Logger = []string{"localhost:1"}, groupName, []string{topic}, slog.New(slog.DiscardHandler)
	c, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range int32(partitions) {
		a := &Assignment{Topic: topic, Partition: i, Epoch: lastEpoch.Add(1)}
		p := newPartition(c.around, a, 0)
		var recs []*kgo.Record
		for o := range int64(4) {
			recs = append(recs, &kgo.Record{Topic: topic, Partition: i, Offset: o})
		}
		if _, err := p.add(&kgo.FetchPartition{Partition: i, HighWatermark: 10, Records: recs}, 0); err != nil {
			tb.Fatal(err)
		}
		c.parts.add(p)
		c.around.metrics.moved([]*partition{p}, 0)
	}
	return c
}

// Ten thousand partitions are told apart, ten more are joined; while they are collected, or State
// is asked, no lock is held that a poll waits for but each partition's, one after the other.
func TestTenThousandPartitions(t *testing.T) {
	meter := measured.New()
	c := holds(t, Config{MeterProvider: meter}, telemetry.MaxPartitions+10)
	defer c.around.metrics.begin(c)()
	polls, stop := atomic.Int64{}, make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				c.parts.find(topic, 7).next() // what a poll asks for
				polls.Add(1)
			}
		}
	}()
	v := meter.Collect(t)
	if got := len(c.State().Partitions); got != telemetry.MaxPartitions+10 {
		t.Errorf("State has %d partitions", got)
	}
	close(stop)
	<-done
	if _, series := v.Sum(telemetry.AckLag); series != telemetry.MaxPartitions+1 {
		t.Errorf("%d series, want one for each of %d and one for the others", series, telemetry.MaxPartitions)
	}
	v.Want(t, 100, telemetry.AckLag, telemetry.Partition.String(telemetry.Other))
	v.Want(t, 10, telemetry.PartitionRebalances, telemetry.Partition.String(telemetry.Other))
	if _, series := v.Sum(telemetry.PartitionRebalances); series != telemetry.MaxPartitions+1 {
		t.Errorf("rebalances in %d series, want one for each of %d and one for the others", series, telemetry.MaxPartitions)
	}
	v.Want(t, 4*(telemetry.MaxPartitions+10), telemetry.Consumed)
	if polls.Load() == 0 {
		t.Error("nobody polled meanwhile")
	}
}

// BenchmarkCollect is what a scrape of so many partitions costs.
func BenchmarkCollect(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		for _, perTopic := range []bool{false, true} {
			b.Run(fmt.Sprintf("partitions=%d/topic=%v", n, perTopic), func(b *testing.B) {
				meter := measured.New()
				c := holds(b, Config{MeterProvider: meter, MetricsPerTopic: perTopic}, n)
				defer c.around.metrics.begin(c)()
				b.ReportAllocs()
				for b.Loop() {
					meter.Collect(b)
				}
			})
		}
	}
}

// BenchmarkState is what State of so many partitions costs.
func BenchmarkState(b *testing.B) {
	c := holds(b, Config{}, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		c.State()
	}
}

// BenchmarkSentinels is what the sentinels of a commit cost, for each input that is done.
func BenchmarkSentinels(b *testing.B) {
	const inputs = 4096
	c := holds(b, Config{}, 0)
	p := newPartition(c.around, &Assignment{Topic: topic, Epoch: lastEpoch.Add(1)}, 0)
	offset := int64(0)
	for b.Loop() {
		b.StopTimer()
		recs := make([]*kgo.Record, inputs)
		for i := range recs {
			recs[i] = &kgo.Record{Topic: topic, Offset: offset}
			offset++
		}
		r, err := p.add(&kgo.FetchPartition{HighWatermark: offset, Records: recs}, 0)
		if err != nil {
			b.Fatal(err)
		}
		for i := range r.states {
			r.states[i] = started | done // as finishRun does, which takes the run away with the last
		}
		at, _ := p.core.Due(true)
		p.hand.runs = []*run{r}
		b.StartTimer()
		p.check(at)
		b.StopTimer()
		p.core.DoneRange(r.first, inputs)
		p.hand.runs = nil
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/inputs, "ns/input")
	if n := c.around.watch.Counts().Sum(); n != 0 {
		b.Fatalf("%d found", n)
	}
}
