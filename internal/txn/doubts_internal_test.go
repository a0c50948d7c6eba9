package txn

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// There is doubt for a while after a partition's first failure, not for ever, and anew once it was
// written to, or much later.
func TestDoubtsEnd(t *testing.T) {
	d, at, begun := doubts{}, place{"out", 1}, time.Unix(1000, 0)
	for _, c := range []struct {
		after   time.Duration
		written bool // since the failure before
		want    bool
	}{
		{0, false, true}, {time.Second, false, true}, {doubtFor - 1, false, true}, {doubtFor, false, false},
		{doubtFor + time.Second, true, true}, {2 * doubtFor, false, true}, {2*doubtFor + time.Second, false, false},
		{doubtFor + time.Second + doubtAgain - 1, false, false}, {doubtFor + time.Second + doubtAgain, false, true},
	} {
		if c.written {
			d.trust(&window{records: []*kgo.Record{{Topic: "in", Partition: 1}, {Topic: "out", Partition: 1}}})
		}
		if got := d.allow(at, begun.Add(c.after)); got != c.want {
			t.Errorf("after %s (written %t): %t", c.after, c.written, got)
		}
	}
	if !d.allow(place{"out", 2}, begun.Add(2*doubtFor)) {
		t.Error("another partition has no doubt of its own")
	}
}

// Only a record that failed because its partition is not there is excused, and its topic is asked
// for again.
func TestExcuse(t *testing.T) {
	units := map[int]error{
		0: &RecordError{Topic: "out", Partition: 1, Err: kerr.UnknownTopicOrPartition},
		3: &RecordError{Topic: "out", Partition: 1, Err: kerr.UnknownTopicOrPartition},
		4: &RecordError{Topic: "large", Partition: 1, Err: kerr.MessageTooLarge},
		5: ErrNotOpen,
	}
	top := &topics{exist: map[string]bool{"out": true, "large": true}, doubts: doubts{}}
	why := top.excuse(units, time.Unix(1000, 0))
	if why == nil || len(units) != 2 || units[4] == nil || units[5] == nil {
		t.Errorf("%v, and to blame are %v", why, units)
	}
	if top.exist["out"] || !top.exist["large"] {
		t.Errorf("known to exist are %v", top.exist)
	}
}
