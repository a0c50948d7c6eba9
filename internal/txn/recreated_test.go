package txn_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/txn"
)

// An output topic is created anew, after both twins have written to it: the outputs that come then
// are in the new one, in order, and no input is to blame. Where the new one is not there yet, its
// units fail for that, and not for ever.
func TestOutputTopicCreatedAnew(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	r.push(1, 5, 5, value(1)).allCommitted()
	if err := errors.Join(r.cluster.DeleteTopic("out"), r.cluster.CreateTopic("out", 3, nil)); err != nil {
		t.Fatal(err)
	}
	for from := 10; from < 30; from += 5 {
		r.push(1, from, 5, value(from)).allCommitted()
	}
	r.check(40, map[int32]int64{0: 30})
	if s := r.lane.Stats(); s.Aborted != 1 {
		t.Errorf("%d transactions were aborted, want that of the first record", s.Aborted)
	}
	if err := r.cluster.DeleteTopic("out"); err != nil {
		t.Fatal(err)
	}
	for i, err := range r.push(1, 30, 2, value(1)).await() {
		var of *txn.RecordError
		if !errors.As(err, &of) || !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Errorf("unit %d, of a topic that is not there: %v", i, err)
		}
	}
}
