package txn

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// absent are the groups that have not taken offsets in time, by their names. Their units wait,
// others go on.
type absent map[string]*awayGroup

type awayGroup struct {
	times int         // in a row
	over  atomic.Bool // it has answered since: its units go on
	told  bool        // that it is over
	since time.Time
	stop  context.CancelFunc // of its probe
}

const (
	// awayAfter is how long the offsets of one group may hold up the others' window, once its
	// records are written.
	awayAfter = 500 * time.Millisecond
	// mostPatience is the same of a group that was away again and again, so that a slow one gets
	// on, too. A coordinator gives up by itself after offsets.commit.timeout.ms, 5 s by default.
	mostPatience = 5 * time.Second
	// awayRatio is how many times as long an absent group is left alone as it held up the others.
	awayRatio = 4
	// awayKept is how long a group is known to be away, or to have been, of which nothing waits: it
	// may never come again, and there may be a new one each day.
	awayKept = 10 * time.Minute
)

// errAway is why the offsets of a group are not waited for any more.
var errAway = errors.New("txn: the group's coordinator has not taken the offsets in time")

// has tells that a group is away.
func (m absent) has(group string) bool {
	a := m[group]
	return a != nil && !a.told
}

// patienceWith is how long the offsets of a group are waited for.
func (m absent) patienceWith(group string) time.Duration {
	a := m[group]
	if a == nil {
		return awayAfter
	}
	return min(awayAfter<<min(a.times, 8), mostPatience)
}

// miss notes that a group is away, and tells for how long it is left alone. Nil: it was noted, of
// another holder in the same window.
func (m absent) miss(group string) (a *awayGroup, pause time.Duration) {
	if a = m[group]; a == nil {
		a = &awayGroup{stop: func() {}}
		m[group] = a
	}
	if a.times > 0 && !a.told {
		return nil, 0
	}
	if pause = awayAfter; a.times > 0 {
		pause = awayRatio * m.patienceWith(group)
	}
	a.times++
	a.told, a.since = false, time.Now()
	a.over.Store(false)
	return a, pause
}

// back tells of those that have answered since.
func (m absent) back(tell func(group string, after time.Duration)) {
	for group, a := range m {
		if !a.told && a.over.Load() {
			a.told = true
			tell(group, time.Since(a.since))
		}
	}
}

// forget forgets the groups of which nothing waits, and has not for long.
func (m absent) forget(waits func(group string) bool) {
	for group, a := range m {
		if time.Since(a.since) > awayKept && !waits(group) {
			a.stop()
			delete(m, group)
		}
	}
}

// lookAround calls away when a group's offsets are not taken in its time, the window's records are
// written, and others wait for nothing but that. Where everybody has to wait, trying on is best.
func (l *Lane) lookAround(ctx context.Context, group string, taken *atomic.Bool, away func()) {
	w := l.window
	for pause := l.backlog.parked.absent.patienceWith(group); l.sleep(ctx, pause); pause = awayAfter / 10 {
		select {
		case <-w.written:
			if taken.Load() || l.othersWait(group) {
				away()
			}
		default:
		}
	}
}

// othersWait tells that units are in hand, behind the window, that are not of a group, nor of one
// that is away. While the window closes.
func (l *Lane) othersWait(group string) bool {
	other := func(r Run) bool {
		st := r.Batch.Unit(r.From).Claim
		return st == nil || st.holder.Group != group && !l.backlog.parked.absent.has(st.holder.Group)
	}
	return l.inbox.contains(other) || l.backlog.contains(other)
}

// isAway tells that a refusal is one group's, and nobody else's: its coordinator has not answered
// in time, or has answered what it answers others not. What is said of the transaction is not.
func (o *offsets) isAway(r *refusal, cause error) bool {
	if !o.cfg.Shared || r.blame != ofWindow || isAsk(r.err) {
		return false
	}
	ke, isKafka := errors.AsType[*kerr.Error](r.err)
	if errors.Is(cause, errAway) {
		return !isKafka || !ofTransaction[ke]
	}
	return isKafka && cause == nil && !ofTransaction[ke]
}

// miss notes that a group has not taken its offsets, and probes its coordinator until it answers.
func (l *Lane) miss(r *refusal) {
	group := r.member.Group
	a, pause := l.backlog.parked.absent.miss(group)
	if a == nil {
		return
	}
	err := r.err
	if errors.Is(err, context.Canceled) { // by lookAround: the request was given up
		err = errAway
	}
	l.cfg.Log.Warn("a group's offsets cannot be committed: its units wait, others go on", "group", group, "err", err)
	asked := part{holder: Holder{Group: group}}
	for _, st := range r.claims[:1] {
		asked.points = append(asked.points, groupcommit.Point{Topic: st.Topic, TopicID: st.TopicID, Partition: st.Partition})
	}
	ctx, cancel := context.WithCancel(l.ctx)
	a.stop = cancel
	l.running.Go(func() {
		defer cancel()
		if l.offsets.probe(ctx, asked, pause) {
			a.over.Store(true)
			l.Wake()
		}
	})
}

// probe asks a group's coordinator for offsets until it answers, whatever it says. False: nobody
// waits for that any more.
func (o *offsets) probe(until context.Context, asked part, pause time.Duration) bool {
	for o.sleep(until, pause) {
		ctx, cancel := context.WithTimeout(until, 2*awayAfter)
		_, err := o.fetchOffsets(ctx, &asked)
		cancel()
		ke, isKafka := errors.AsType[*kerr.Error](err)
		if err == nil || isKafka && (!ke.Retriable || errors.Is(err, kerr.UnstableOffsetCommit)) {
			return true
		}
		pause = awayAfter
	}
	return false
}
