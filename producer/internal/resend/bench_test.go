package resend

import (
	"fmt"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// BenchmarkReport is what the report of a unit costs: of whole frames at once, and of every second
// unit, and then of the others.
func BenchmarkReport(b *testing.B) {
	for _, step := range []int{frameUnits, 1} {
		b.Run(fmt.Sprintf("units=%d", step), func(b *testing.B) {
			q := newQueue(1<<20, func(result) {})
			data := make([]byte, 8)
			var spent time.Duration
			b.ReportAllocs()
			for b.Loop() {
				for i := range frameUnits {
					f := q.Open()
					f.Data = append(f.Data, data...)
					q.Add(1, len(data), 1, call{ID: 1}, i)
				}
				f := q.Send(unit.Cost{Bytes: 1 << 40, Records: 1 << 30}, 0)
				began := childproc.OwnCPUTime()
				for k := range min(2, frameUnits/step) {
					for at := k * step; at < frameUnits; at += 2 * step {
						if err := q.Check(f.First+uint64(at), uint64(step)); err != nil {
							b.Fatal(err)
						}
						q.Report(f.First+uint64(at), step, nil)
					}
				}
				spent += childproc.OwnCPUTime() - began
			}
			b.ReportMetric(float64(spent)/float64(b.N)/frameUnits, "cpu-ns/unit")
		})
	}
}
