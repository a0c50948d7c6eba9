package txn

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A transaction whose end is decided holds its id until its markers are written. Where a partition
// has no leader that is as long as it takes, and the id refuses everything. The other twin's is
// free meanwhile: the lane goes on with that one alone, and has both again when the coordinator
// lets the first one be taken. One of two at a time can be aside; so with the ids without a client.

// asideAfter is how long an id may be in the state of a decided end before it is set aside.
const asideAfter = 500 * time.Millisecond

// errStuck is why an id is not taken: the markers of its transaction are not written yet.
var errStuck = errors.New("txn: the transaction's end is decided, and its markers are not written yet")

// isDecided tells that a transaction's end is decided, and its markers are not written.
func isDecided(s *kmsg.DescribeTransactionsResponseTransactionState) bool {
	return s.State == "PrepareCommit" || s.State == "PrepareAbort"
}

// markers is how long a taking waits for those of the transaction before.
type markers uint8

const (
	untilWritten markers = iota // no other id is free
	aWhile                      // for asideAfter
	onceTold                    // for asideAfter, and until it is told how the transaction ended
	noMore                      // they were waited for already
)

// isStuck tells that an id is not waited for any more, and can be set aside.
func (m markers) isStuck(s *kmsg.DescribeTransactionsResponseTransactionState, end ending, waited time.Duration) bool {
	switch {
	case !isDecided(s), m == untilWritten:
		return false
	case m == noMore:
		return true
	}
	return waited >= asideAfter && (m == aWhile || end.isCertain())
}

// setAside has an id taken again beside the lane, which goes on without it until it hears that it
// is ours.
func (d *ids) setAside(id string, retake func() error) <-chan error {
	d.cfg.Log.Warn("the markers of a transaction are not written: the lane goes on with its other id", "transactional_id", id)
	back := make(chan error, 1)
	d.running.Go(func() {
		back <- retake()
		d.wake()
	})
	return back
}

// takeBack takes ids that were set aside into use again. An error: one is not ours any more.
func (d *ids) takeBack() error {
	for i := range 2 {
		t, b := &d.twins[i], &d.bares[i]
		for _, at := range []struct {
			aside  *<-chan error
			id     string
			verify func(error) error
		}{{&t.aside, t.id, func(err error) error { return d.verify(t, err) }}, {&b.aside, b.id, func(err error) error { return d.verifyBare(b, err) }}} {
			select {
			case err := <-*at.aside: // nil: it is in use
				*at.aside = nil
				if err := at.verify(err); err != nil {
					return err
				}
				d.cfg.Log.Info("a transactional id is in use again", "transactional_id", at.id)
			default:
			}
		}
	}
	return nil
}

// lookStuck calls stuck when nothing of the window was written for a while because the markers of
// the transaction before it are not.
func (d *ids) lookStuck(ctx context.Context, w *window, as producing, stuck func()) {
	for d.sleep(ctx, asideAfter) {
		if w.acked.Load() > 0 {
			return
		}
		s, err := d.describe(ctx, as.id)
		if err == nil && as.isHeld(s) {
			stuck()
			return
		}
	}
}
