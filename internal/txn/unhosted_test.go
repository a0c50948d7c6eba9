package txn_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/txn"
)

// A broker has not heard yet that it leads a partition of a topic that is there: no unit is to
// blame, all are tried again.
func TestPartitionIsNotThereYet(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	r.lane = r.newLane(func(cfg *txn.Config) {
		with := cfg.Client
		cfg.Client = func(extra ...kgo.Opt) (*kgo.Client, error) {
			return with(append(extra, kgo.UnknownTopicRetries(0))...)
		}
	})
	t.Cleanup(r.lane.Close)
	r.push(1, 0, 5, value(1)).allCommitted()
	r.refusesRecords(kerr.UnknownTopicOrPartition)
	r.push(1, 5, 5, value(2)).allCommitted()
	r.check(20, map[int32]int64{0: 10})
	if s := r.lane.Stats(); s.Aborted != 1 {
		t.Errorf("%d transactions were aborted", s.Aborted)
	}
}
