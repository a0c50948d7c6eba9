package producer

import (
	"slices"
	"strconv"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/telemetry"
)

type heard struct{}

func (heard) Acked(int, int)     {}
func (heard) Failed(int, *Error) {}

// BenchmarkCounts is what counting costs a record: calls of so many units, which are acknowledged
// at once, with a provider that nobody reads, which is as none, and with a reader.
func BenchmarkCounts(b *testing.B) {
	for name, provider := range map[string]*sdk.MeterProvider{
		"idle": sdk.NewMeterProvider(), "read": sdk.NewMeterProvider(sdk.WithReader(sdk.NewManualReader())),
	} {
		for _, n := range []int{1, 16, 128} {
			b.Run(name+"/units="+strconv.Itoa(n), func(b *testing.B) {
				c := newCounts(provider, "direct", "app", func(*counts, *telemetry.Reading) {})
				defer c.end()
				units := make([]Unit, n)
				for i := range units {
					units[i].Outputs = []Record{{Topic: "out"}}
				}
				if c != nil { // of a provider that nobody reads there are none
					c.open.Add(1) // others are on their way
				}
				b.ReportAllocs()
				began := childproc.OwnCPUTime() // other work on the machine is not ours
				for b.Loop() {
					_ = c.follow(units, heard{}, func(r Reporter) error {
						r.Acked(0, n)
						return nil
					})
				}
				b.ReportMetric(float64(childproc.OwnCPUTime()-began)/float64(b.N)/float64(n), "ns/record")
			})
		}
	}
}

// BenchmarkCountsForNobody is what it costs a record that there could be metrics: slices of calls
// with nobody who reads them, and of the same calls past the counting, in turn. Its number is the
// median of the differences.
func BenchmarkCountsForNobody(b *testing.B) {
	for _, n := range []int{1, 16, 128} {
		b.Run("units="+strconv.Itoa(n), func(b *testing.B) {
			c := newCounts(sdk.NewMeterProvider(), "direct", "app", func(*counts, *telemetry.Reading) {})
			defer c.end()
			units := make([]Unit, n)
			for i := range units {
				units[i].Outputs = []Record{{Topic: "out"}}
			}
			deliver := func(r Reporter) error {
				r.Acked(0, n)
				return nil
			}
			const calls = 4096 // of a slice
			slice := func(counted bool) float64 {
				began := time.Now()
				for range calls {
					if counted {
						_ = c.follow(units, heard{}, deliver)
					} else {
						_ = deliver(heard{})
					}
				}
				return float64(time.Since(began)) / calls / float64(n)
			}
			b.ReportAllocs()
			var more []float64
			for i := 0; b.Loop(); i++ {
				first := slice(i%2 == 0)
				second := slice(i%2 != 0)
				if i%2 == 0 {
					more = append(more, first-second)
				} else {
					more = append(more, second-first)
				}
			}
			slices.Sort(more)
			b.ReportMetric(more[len(more)/2], "more-ns/record")
		})
	}
}
