package txn

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// An id is held while the markers of the transaction before are not written: by our producer, or,
// right behind the last epoch of the one before, by that.
func TestIsHeld(t *testing.T) {
	usual := producing{pid: 7, epoch: 3}
	usual.moves(7, 4)
	first := producing{pid: 7, epoch: lastEpoch}
	first.moves(8, 0)
	second := first
	second.moves(8, 1)
	expired := producing{pid: 7, epoch: 3}
	expired.moves(8, 0)
	for _, c := range []struct {
		name  string
		p     producing
		state string
		pid   int64
		epoch int16
		held  bool
	}{
		{"usual", usual, "PrepareCommit", 7, 4, true}, {"usual", usual, "CompleteCommit", 7, 4, false}, {"usual", usual, "PrepareCommit", 7, 3, false},
		{"first", first, "PrepareCommit", 7, lastEpoch + 1, true}, {"first", first, "PrepareAbort", 8, 0, true}, {"first", first, "CompleteCommit", 7, lastEpoch + 1, false},
		{"first", first, "PrepareCommit", 6, lastEpoch + 1, false}, {"second", second, "PrepareCommit", 7, lastEpoch + 1, false},
		{"expired", expired, "PrepareCommit", 7, lastEpoch + 1, false}, {"new", producing{pid: 8}, "PrepareCommit", 0, lastEpoch + 1, false},
	} {
		s := &kmsg.DescribeTransactionsResponseTransactionState{State: c.state, ProducerID: c.pid, ProducerEpoch: c.epoch}
		if got := c.p.isHeld(s); got != c.held {
			t.Errorf("%s, of producer %d epoch %d, in %s of producer %d epoch %d: %v", c.name, c.p.pid, c.p.epoch, c.state, c.pid, c.epoch, got)
		}
	}
}
