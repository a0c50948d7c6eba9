package telemetry

import (
	"fmt"
	"strings"
	"testing"
)

// What partitions counted that have left takes no series of those that are there, and those that
// came too late to be told apart are told as one; where no partition is told apart every topic has
// its sum.
func TestPartitionsThatLeftTakeNoPlace(t *testing.T) {
	for _, perTopic := range []bool{false, true} {
		t.Run(fmt.Sprintf("per topic %v", perTopic), func(t *testing.T) {
			p, reader := provider()
			part := New(p, "part")
			if perTopic {
				part = New(WithoutPartitions(p), "part")
			}
			counts := NewByPartition(func(Place) *int64 { return new(int64) })
			for i := range int32(MaxPartitions + 5) {
				*counts.Get(part.PlaceOf("left", i))++
			}
			*counts.Get(part.PlaceOf("late", 0))++
			defer part.Observe(func(r *Reading) {
				counts.Each(func(at Place, n *int64) { r.Place(at).Count(DrainOverruns, *n) })
				r.Partition("here", 7).Count(Gap, 1)
			}, DrainOverruns, Gap)()
			all := collected(t, reader)
			sums, series := map[string]float64{}, 0
			for of, n := range all[DrainOverruns.Name] {
				series++
				for _, topic := range []string{"left", "late", Other} {
					if strings.Contains(of, string(Topic)+"="+topic) {
						sums[topic] += n
					}
				}
			}
			want, of := map[string]float64{"left": MaxPartitions, Other: 6}, MaxPartitions+1
			if perTopic {
				want, of = map[string]float64{"left": MaxPartitions + 5, "late": 1}, 2
			}
			if fmt.Sprint(sums) != fmt.Sprint(want) || series != of {
				t.Errorf("%v in %d series, want %v in %d", sums, series, want, of)
			}
			for set := range all[Gap.Name] {
				if !strings.Contains(set, string(Topic)+"=here") {
					t.Errorf("a partition that is there is told as %s", set)
				}
			}
		})
	}
}
