package txn

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Records of a partition are tried again for a while after its first failure, not for ever, and
// anew once it was written to, or much later.
func TestUnhostedForAWhile(t *testing.T) {
	d, at, begun := unhosted{}, place{"out", 1}, time.Unix(1000, 0)
	for _, c := range []struct {
		after   time.Duration
		written bool // since the failure before
		want    bool
	}{
		{0, false, true}, {time.Second, false, true}, {hostPatience - 1, false, true}, {hostPatience, false, false},
		{hostPatience + time.Second, true, true}, {2 * hostPatience, false, true}, {2*hostPatience + time.Second, false, false},
		{hostPatience + time.Second + hostAgain - 1, false, false}, {hostPatience + time.Second + hostAgain, false, true},
	} {
		if c.written {
			d.written(&window{records: []*kgo.Record{{Topic: "in", Partition: 1}, {Topic: "out", Partition: 1}}})
		}
		if got := d.allow(at, begun.Add(c.after)); got != c.want {
			t.Errorf("after %s (written %t): %t", c.after, c.written, got)
		}
	}
	if !d.allow(place{"out", 2}, begun.Add(2*hostPatience)) {
		t.Error("another partition has no time of its own")
	}
}

// Only a record that failed because its partition is not there is tried again, and its topic is
// asked for again.
func TestUnitsThatMayComeAgain(t *testing.T) {
	units := map[int]error{
		0: &RecordError{Topic: "out", Partition: 1, Err: kerr.UnknownTopicOrPartition},
		3: &RecordError{Topic: "out", Partition: 1, Err: kerr.UnknownTopicOrPartition},
		4: &RecordError{Topic: "large", Partition: 1, Err: kerr.MessageTooLarge},
		5: ErrNotOpen,
	}
	top := &topics{exist: map[string]bool{"out": true, "large": true}, unhosted: unhosted{}}
	why := top.again(units, time.Unix(1000, 0))
	if why == nil || len(units) != 2 || units[4] == nil || units[5] == nil {
		t.Errorf("%v, and to blame are %v", why, units)
	}
	if top.exist["out"] || !top.exist["large"] {
		t.Errorf("known to exist are %v", top.exist)
	}
}
