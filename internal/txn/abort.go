package txn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// Abort is a transaction that was aborted. Its units are tried again, but those that it was the
// fault of; at the end of a lane they fail.
type Abort struct {
	ID            string // of the configuration
	Units, Blamed int
	Err           error
}

// String is for who looks at what happened lately.
func (a Abort) String() string {
	return fmt.Sprintf("%s: a transaction of %d units was aborted, %d of them to blame: %v", a.ID, a.Units, a.Blamed, a.Err)
}

// why is the label of the reason.
func (a Abort) why() string {
	for _, x := range []struct {
		err  error
		name string
	}{
		{errGivenUp, "ASSIGNMENT_LOST"}, {ErrMemberGone, "MEMBER_FENCED"}, {ErrNotOpen, "INPUT_NOT_OPEN"}, {ErrSetTooLarge, "DONE_SET_TOO_LARGE"},
		{ErrClosed, "CLOSED"}, {ErrTaken, "TRANSACTIONAL_ID_TAKEN"}, {errAway, "GROUP_AWAY"}, {errLate, "TOO_SLOW"}, {context.DeadlineExceeded, "TOO_SLOW"},
	} {
		if errors.Is(a.Err, x.err) {
			return x.name
		}
	}
	if isNetwork(a.Err) {
		return "NETWORK"
	}
	return telemetry.KafkaError(a.Err, "")
}

// firstFault is the error of the first of the units that failed by their own fault; nil: there are
// none.
func firstFault(units map[int]error) error {
	if len(units) == 0 {
		return nil
	}
	return units[slices.Min(slices.Collect(maps.Keys(units)))]
}

// tellAbort tells everybody of an aborted window.
func (l *Lane) tellAbort(a Abort) {
	l.stats.reasons.Add(a.why(), 1)
	if l.cfg.Aborted != nil {
		l.cfg.Aborted(a)
	}
	if n, due := l.told.next(time.Now(), true); due {
		l.cfg.Log.Info("a transaction was aborted", "transactional_id", a.ID, "units", a.Units, "guilty", a.Blamed, "err", a.Err, "suppressed", n)
	}
}

// tellCommits tells, in a transaction that is committed, of aborts that no line told of.
func (l *Lane) tellCommits() {
	if n, due := l.told.next(time.Now(), false); due {
		l.cfg.Log.Info("transactions are committed again", "transactional_id", l.cfg.ID, "suppressed", n)
	}
}

// logPace is between two lines about aborts: in a storm of them they are counted.
const logPace = 10 * time.Second

// paced counts what happens between two lines.
type paced struct {
	last time.Time
	more int // since
}

// next tells whether a line is due, of this event or (without one) of those that had none, and how
// many others had none.
func (p *paced) next(now time.Time, event bool) (more int, due bool) {
	if !p.last.IsZero() && now.Sub(p.last) < logPace {
		if event {
			p.more++
		}
		return 0, false
	}
	if !event && p.more == 0 {
		return 0, false
	}
	more = p.more
	p.last, p.more = now, 0
	return more, true
}
