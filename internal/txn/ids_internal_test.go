package txn

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Twins are used in turn, and one alone while the other is set aside; an id without a client is
// used until it is.
func TestIDsInTurn(t *testing.T) {
	d := newIDs(&Config{ID: "id", Number: 1}, newLife(), nil, func() {})
	used := func() string {
		id := d.useTwin().id
		d.nextTwin()
		return id
	}
	if a, b, c := used(), used(), used(); a != "id-2" || b != "id-3" || c != a {
		t.Errorf("twins in turn are %s, %s, %s", a, b, c)
	}
	d.otherTwin().aside = make(chan error)
	if a, b := used(), used(); a != "id-3" || b != a {
		t.Errorf("the twin that is left is %s, and %s after that", a, b)
	}
	if a, b := d.useBare().id, d.useBare().id; a != "id-o1" || b != a {
		t.Errorf("windows without outputs use %s, and %s after that", a, b)
	}
	d.useBare().aside = make(chan error)
	if a, b := d.useBare().id, d.useBare().id; a != "id-o9" || b != a {
		t.Errorf("windows without outputs use %s, and %s, while one is set aside", a, b)
	}
}

// An id is set aside when its end is decided and its markers are not written, in time; where the
// outcome is asked for, it has to be told as well.
func TestHowLongMarkersAreWaitedFor(t *testing.T) {
	for _, c := range []struct {
		wait   markers
		state  string
		end    ending
		waited time.Duration
		stuck  bool
	}{
		{untilWritten, "PrepareCommit", wasCommitted, time.Hour, false},
		{aWhile, "PrepareCommit", untold, asideAfter, true}, {aWhile, "PrepareAbort", untold, asideAfter - 1, false}, {aWhile, "CompleteCommit", wasCommitted, time.Hour, false},
		{onceTold, "PrepareAbort", wasAborted, asideAfter, true}, {onceTold, "PrepareAbort", untold, time.Hour, false}, {onceTold, "PrepareCommit", wasCommitted, 0, false},
		{noMore, "PrepareCommit", untold, 0, true}, {noMore, "Ongoing", wasOpen, time.Hour, false},
	} {
		s := &kmsg.DescribeTransactionsResponseTransactionState{State: c.state}
		if got := c.wait.isStuck(s, c.end, c.waited); got != c.stuck {
			t.Errorf("%v after %s in %s, the end told as %v: %v", c.wait, c.waited, c.state, c.end, got)
		}
	}
}
