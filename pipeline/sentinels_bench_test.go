package pipeline

import (
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/producer"
)

// BenchmarkOrderSentinel is what looking at the order of keys costs, for each input: of all
// flights, of which some are looked at.
func BenchmarkOrderSentinel(b *testing.B) {
	var s sentinels
	s.begin(slog.New(slog.DiscardHandler), PerKey)
	f := &flight{assignment: &consumer.Assignment{Topic: "in", Epoch: 1}}
	for i := range flightSize {
		m := consumer.NewMessage(&kgo.Record{Topic: "in", Key: strconv.AppendInt([]byte("customer-"), int64(i%100), 10)}, nil)
		f.msgs, f.units = append(f.msgs, m), append(f.units, producer.Unit{})
	}
	index := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range f.units {
			f.units[i].Source.Index = index
			index++
		}
		b.StartTimer()
		s.delivers(f)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/flightSize, "ns/input")
	if n := s.watch.Counts().Sum(); n != 0 {
		b.Fatalf("%d found", n)
	}
}

// BenchmarkHandlerTimes is what measuring some handlers costs each input, with a reader; without a
// provider it is the look at a pointer.
func BenchmarkHandlerTimes(b *testing.B) {
	for name, m := range map[string]*metrics{"no provider": nil, "reader": newMetrics(&Config{MeterProvider: measured.New()}, "g")} {
		b.Run(name, func(b *testing.B) {
			p := &Pipeline{cfg: Config{Handler: benchHandler()}.withDefaults(), metrics: m}
			l := newLane(p)
			l.times.enter("in")
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				for range telemetry.Every {
					if l.times != nil && l.times.next() {
						if begun := time.Now(); l.times.due.At(begun) {
							l.times.took(time.Since(begun), outcome{kind: delivers})
						}
					}
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/telemetry.Every, "cpu-ns/input")
		})
	}
}
