package consumer

import (
	"strconv"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// What happens to a partition once in a while is told of that partition, from its assignment on:
// here three of six leave with an input that does not end.
func TestWhatHappensToAPartitionIsToldOfIt(t *testing.T) {
	for _, perTopic := range []bool{false, true} {
		t.Run("per topic "+strconv.FormatBool(perTopic), func(t *testing.T) {
			inLab(t, 6, func(t *testing.T, l *lab) {
				meter := measured.New()
				var h holder
				cfg := l.config()
				cfg.MeterProvider, cfg.MetricsPerTopic = meter, perTopic
				a := l.start(cfg, h.deliver)
				l.until("all assigned", func() bool { return len(a.State().Partitions) == 6 })
				l.until("the step is over", func() bool {
					_, series := meter.Collect(t).Sum(telemetry.PartitionRebalances)
					return series > 0
				})
				before := meter.Collect(t)
				series := func(v measured.Values, row *telemetry.Metric, want int) {
					t.Helper()
					if perTopic {
						want /= 6
					}
					if _, n := v.Sum(row); n != want {
						t.Errorf("%s has %d series, want %d", row.Name, n, want)
					}
				}
				series(before, telemetry.DrainOverruns, 6)
				series(before, telemetry.Repeats, 6*len(repeatCauses))
				series(before, telemetry.PartitionRebalances, 6)
				series(before, telemetry.PartitionRebalanceTime, 6)
				before.Want(t, 0, telemetry.DrainOverruns)
				before.Want(t, 0, telemetry.Repeats)
				before.Want(t, 6, telemetry.PartitionRebalances)

				for p := range int32(6) {
					l.feed(p, 2)
				}
				l.until("all handed out", func() bool { return len(h.messages()) == 12 })
				for _, m := range h.messages() {
					if m.Offset == 0 {
						m.Done(nil)
					}
				}
				b := l.start(l.config(), nil)
				l.untilSpread(a, b)
				after := meter.Collect(t)
				after.Want(t, 3, telemetry.DrainOverruns, telemetry.Topic.String(topic))
				after.Want(t, 3, telemetry.Repeats, telemetry.Reason.String("abandoned"))
				after.Want(t, 0, telemetry.Repeats, telemetry.Reason.String("lost"))
				after.Want(t, 9, telemetry.PartitionRebalances)
				series(after, telemetry.DrainOverruns, 6) // also of those that left: a series that goes has no sum
				if !perTopic {
					kept := map[int32]bool{}
					for _, p := range a.State().Partitions {
						kept[p.Partition] = true
					}
					for p := range int32(6) {
						of := telemetry.Partition.String(strconv.Itoa(int(p)))
						times, left := 1.0, 0.0
						if !kept[p] {
							times, left = 2, 1
						}
						after.Want(t, times, telemetry.PartitionRebalances, of)
						after.Want(t, left, telemetry.DrainOverruns, of)
						after.Want(t, left, telemetry.Repeats, of)
						took, _ := after.Sum(telemetry.PartitionRebalanceTime, of)
						if long := took >= DefaultDrainTimeout.Seconds(); long == kept[p] || took > (DefaultDrainTimeout+5*time.Second).Seconds() {
							t.Errorf("partition %d (kept: %v) moved for %.3f s, and the drain took %s", p, kept[p], took, DefaultDrainTimeout)
						}
					}
				}
				if bad := after.Unlisted(); len(bad) > 0 {
					t.Errorf("attributes that no row has: %q", bad)
				}
				for _, m := range h.messages() {
					m.Done(nil)
				}
				wantNil(t, a.stop())
				wantNil(t, b.stop())
			})
		})
	}
}
