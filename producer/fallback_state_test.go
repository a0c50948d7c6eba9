package producer

import (
	"fmt"
	"testing"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// A client may write to any number of topics: as many as of its other metrics are told apart, the
// first ones, and no record is lost to the count.
func TestTopicsOfAFallbackAreBounded(t *testing.T) {
	const topics = 3 * toldApart
	names, u := make([]string, topics), usage{}
	for i := range names {
		names[i] = fmt.Sprint("t.", i)
		to := topicsOf([]uint32{uint32(i), 0, uint32(i)}, []int32{0, 3})
		to.count(&u, 0, 2, 4) // one unit without a record, and one of three
	}
	records, bare := u.byTopic(names)
	if len(records) != toldApart+1 || bare != topics {
		t.Errorf("%d series, %d units without records", len(records), bare)
	}
	if records["t.0"] != topics+2 || records["t.999"] != 2 || records[telemetry.Other] != 2*(topics-toldApart) {
		t.Errorf("%d, %d and %d records", records["t.0"], records["t.999"], records[telemetry.Other])
	}
}

// Of a frame whose fates come in parts, each part is counted by its own topics.
func TestTopicsOfAFrameAreThoseOfItsUnits(t *testing.T) {
	for _, x := range []struct {
		records []uint32
		ends    []int32
		first   int
		want    map[uint32]uint64
	}{
		{[]uint32{1, 1, 2}, []int32{1, 2, 3}, 2, map[uint32]uint64{2: 1}},
		{[]uint32{1, 1, 2}, []int32{1, 2, 3}, 0, map[uint32]uint64{1: 1}},
		{[]uint32{5, 5, 5}, []int32{1, 2, 3}, 1, map[uint32]uint64{5: 1}},
		{[]uint32{5}, []int32{0, 1}, 0, nil},
		{nil, []int32{0, 0}, 1, nil},
	} {
		var u usage
		to := topicsOf(x.records, x.ends)
		to.count(&u, x.first, 1, 1)
		if u.direct != 1 || fmt.Sprint(u.topics) != fmt.Sprint(x.want) {
			t.Errorf("%v, unit %d: %d records, %v, want %v", x.records, x.first, u.direct, u.topics, x.want)
		}
	}
}
