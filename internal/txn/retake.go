package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An id that was ours is taken again in two steps. Under its epoch, which the coordinator refuses
// if somebody has it; and, for a twin, by its new Kafka client, which can only ask without one, and
// would rob who came in between: a process that was stopped there, and wakes when its successor has
// everything, must not be able to commit again. Every taking moves the epoch by one. So the second
// step is ours alone if the epoch is the next one. If it is not, an answer was lost and the client
// has asked twice, or somebody was robbed; and who finds his id taken has a successor, or was
// robbed, or it was an answer of his own that got lost. The other ids tell: a process takes its
// twins first, then the ids without a client, and begins only when all are still its own after
// that. So
//
//   - who has a twin, and after that still one of the ids without a client, under its epoch, has no
//     successor that has begun, and one that is about to will find out;
//   - who has an id without a client, and after that still the other one, or one of his twins, has
//     none either.
//
// An id that is not used for transactional.id.expiration.ms is forgotten, and with it who has had
// it since: a successor may have begun, ended, and be forgotten, too, while we were stopped. Taking
// it under its old epoch is granted then, by another producer id: that is looked for. So
// what has expired proves nothing, and is ours only by another id that has not. Of a process that
// lives there are two that do not expire: see keep.

var (
	// errBetween is why an id is not ours yet: somebody may have had it since we had it last.
	errBetween = errors.New("txn: the producer's epoch has moved by more than one, or was forgotten")
	// errExpired is why an id is not ours, nor anybody's.
	errExpired = errors.New("it has expired (transactional.id.expiration.ms), and nobody knows who has had it since")
)

// isForgottenBy tells that the coordinator did not know an id any more when it answered a taking
// under its epoch with these. It does not refuse that, and makes another producer. Of an id that it
// knows it moves the epoch, until that is the last one.
func (p producing) isForgottenBy(pid int64, epoch int16) bool {
	if pid == p.pid {
		return epoch < p.epoch
	}
	return p.epoch != lastEpoch
}

func (p producing) hasExpired() error { return fmt.Errorf("%w %q: %w", ErrTaken, p.id, errExpired) }

// follows tells that nobody has had an id since it was as before tells, to the taking that has made
// it what it is.
func (p producing) follows(before producing) bool {
	if before.epoch == lastEpoch { // a new producer id
		return p.epoch == 0
	}
	return p.pid == before.pid && p.epoch == before.epoch+1
}

// retake takes the id of a window again.
func (l *Lane) retake(w *window) error {
	if w != nil && !w.tried {
		b := &l.bares[l.bareTurn]
		end, err := l.retakeBare(l.ctx, b, l.bares[1-l.bareTurn].aside == nil)
		if l.outcome.told = end; errors.Is(err, errStuck) {
			b.aside = l.setAside(b.id, func() error { _, err := l.retakeBare(l.ctx, b, false); return err })
			return nil
		}
		return l.verifyBare(b, err)
	}
	t := &l.twins[l.turn]
	t.rest(l.ctx)
	end, err := l.retakeTwin(t, l.other().aside == nil)
	l.outcome.told = end
	if errors.Is(err, errStuck) {
		t.aside = l.setAside(t.id, func() error { _, err := l.retakeTwin(t, false); return err })
		return nil
	}
	return l.verify(t, err)
}

// retakeTwin takes the id of a twin again. The error is errBetween if a successor may have been
// robbed: see verify.
func (l *Lane) retakeTwin(t *twin, free bool) (ending, error) {
	now, end, err := t.producing, untold, t.hasExpired()
	if !t.gone {
		now, end, err = l.reclaim(l.ctx, t.producing, free)
	}
	expired := errors.Is(err, errExpired)
	if err != nil && !expired {
		return end, err
	}
	if err := l.connect(t); err != nil {
		return end, err
	}
	// The client finds its coordinator, and looks once more: the shorter the time between the
	// steps, the rarer a robbery.
	s, err := describe(l.ctx, t.client, t.id)
	if err == nil && !expired && now.isOther(s) {
		return end, takenBy(now, s)
	}
	if err := l.init(l.ctx, t); err != nil {
		return end, err
	}
	if expired || !t.follows(now) {
		return end, errBetween
	}
	return end, nil
}

// isOther tells that an id is not as we took it. A coordinator that does not know yet that it is
// one no more tells of an earlier epoch.
func (p producing) isOther(s *kmsg.DescribeTransactionsResponseTransactionState) bool {
	return s.ProducerID != p.pid || s.ProducerEpoch > p.epoch
}

// verify finds out whether a twin that was not taken again as it should be is ours, and has it
// taken. It is the goroutine's.
func (l *Lane) verify(t *twin, err error) error {
	switch {
	case isTaken(err):
		if !l.hasBare() { // a successor is not robbed on suspicion
			return l.orClosed(err)
		}
		if err := l.take(l.ctx, t); err != nil {
			return err
		}
	case !errors.Is(err, errBetween):
		return err
	}
	if !l.hasBare() {
		return l.orClosed(fmt.Errorf("%w %q: %w", ErrTaken, t.id, err))
	}
	l.cfg.Log.Warn("a transactional id was taken from us, or by us twice, or has expired; nobody else has begun with it", "transactional_id", t.id)
	return nil
}

// orClosed is the error, or that the lane is closed.
func (l *Lane) orClosed(err error) error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	return err
}

// hasBare tells that an id without a client was ours still, and takes it again: one that can be
// taken. Where the one has to wait for its coordinator, or for markers, the other is tried.
func (l *Lane) hasBare() bool {
	for l.ctx.Err() == nil {
		refused := true
		for i := range l.bares {
			b := &l.bares[i]
			if b.aside != nil {
				continue
			}
			ctx, cancel := context.WithTimeout(l.ctx, l.bareWait)
			_, err := l.retakeBare(ctx, b, false)
			waits := ctx.Err() != nil
			if cancel(); err == nil {
				return true
			}
			refused = refused && !waits // for whatever reason: it would be refused again
		}
		if refused {
			return false
		}
	}
	return false
}

// bareWait is for one id before the other is tried.
const bareWait = 2 * time.Second

// verifyBare does for an id without a client what verify does for a twin.
func (l *Lane) verifyBare(b *bare, err error) error {
	if !isTaken(err) {
		return err
	}
	if !l.seesTwin() && !l.hasOther(b) {
		return l.orClosed(err)
	}
	if err := l.takeBare(l.ctx, b); err != nil {
		return err
	}
	has, waits := l.tryOther(b)
	if !has && !l.hasTwin() && (!waits || !l.hasOther(b)) {
		return l.orClosed(err)
	}
	l.cfg.Log.Warn("a transactional id was taken from us, or by us twice, or has expired; nobody else has begun with it", "transactional_id", b.id)
	return nil
}

// seesTwin tells that one of the twins looks like ours still.
func (l *Lane) seesTwin() bool {
	for i := range l.twins {
		t := &l.twins[i]
		if t.aside != nil {
			continue
		}
		if s, err := l.lookAt(t.producing); err == nil && s == nil {
			return true
		}
	}
	return false
}

// hasTwin tells that the twin that is not in use was ours still, and takes it again: what a
// coordinator tells of an id may be old, what it writes is not. If that one is aside, what is told
// of the other has to do.
func (l *Lane) hasTwin() bool {
	t := l.other()
	if t.aside != nil {
		return l.seesTwin()
	}
	t.rest(l.ctx)
	_, err := l.retakeTwin(t, false)
	return err == nil
}

// hasOther tells that the other id without a client was ours still, and takes it again. One that
// has to wait for its coordinator is waited for: no answer is not another's.
func (l *Lane) hasOther(b *bare) bool {
	for l.ctx.Err() == nil {
		if has, waits := l.tryOther(b); has || !waits {
			return has
		}
	}
	return false
}

// tryOther is hasOther for a while.
func (l *Lane) tryOther(b *bare) (has, waits bool) {
	o := &l.bares[0]
	if o == b {
		o = &l.bares[1]
	}
	if o.aside != nil {
		return false, false
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.bareWait)
	defer cancel()
	_, err := l.retakeBare(ctx, o, false)
	return err == nil, ctx.Err() != nil
}

// retakeBare takes an id without a client again.
func (l *Lane) retakeBare(ctx context.Context, b *bare, free bool) (ending, error) {
	now, end, err := l.reclaim(ctx, b.producing, free)
	if err != nil {
		return end, err // also if it has expired
	}
	b.pid, b.epoch, b.used = now.pid, now.epoch, time.Now()
	return end, nil
}

// takeAll takes every id. A predecessor that is taking one again at the same time may take it from
// us, and does not begin then; so the ids without a client come last, which nobody takes by
// mistake, and the others are looked at after them.
func (l *Lane) takeAll() error {
	for i := range l.twins {
		if err := l.take(l.ctx, &l.twins[i]); err != nil {
			return err
		}
	}
	for i := range l.bares {
		if err := l.takeBare(l.ctx, &l.bares[i]); err != nil {
			return err
		}
	}
	if l.cfg.Number == 0 {
		if err := l.sweep(l.ctx); err != nil {
			return err
		}
	}
	return l.keepAll()
}

// maxRetakes is how often an id may be taken away from a process that begins.
const maxRetakes = 5

// keepAll looks whether all ids are still ours, and takes those again that were robbed. Of several
// that begin at once, and take them from each other, the one stays that has the last one: it has
// the others back within a pause. Who has lost the last one waits longer, and ends if somebody has
// taken a twin as well; if not, who took the last one is gone.
func (l *Lane) keepAll() error {
	for range maxRetakes {
		gone, err := l.lost()
		if err == nil && len(gone) > 0 {
			l.cfg.Log.Warn("somebody has taken a transactional id from us while we took the others", "transactional_id", l.cfg.ID)
			pause := l.takePause
			if gone.hasLast() {
				pause *= 3
			}
			if !l.sleep(l.ctx, pause) {
				return context.Cause(l.ctx)
			}
			gone, err = l.lost()
		}
		if err != nil || len(gone) == 0 {
			return err
		}
		for _, id := range gone {
			if err := id.retake(); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%w %q: somebody takes it again and again", ErrTaken, l.cfg.ID)
}

// lostID is an id that somebody else has.
type lostID struct {
	last   bool // of all
	retake func() error
}

type lostIDs []lostID

func (ids lostIDs) hasLast() bool { return len(ids) > 0 && ids[len(ids)-1].last }

// lost are the ids that somebody else has, in the order of their taking. An error: that is a
// successor.
func (l *Lane) lost() (gone lostIDs, err error) {
	for i := range l.twins {
		t := &l.twins[i]
		switch s, err := l.lookAt(t.producing); {
		case err != nil:
			return nil, err
		case s != nil:
			gone = append(gone, lostID{retake: func() error { return l.take(l.ctx, t) }})
		}
	}
	twins := len(gone)
	for _, b := range l.former {
		switch s, err := l.lookAt(b.producing); {
		case err != nil:
			return nil, err
		case s != nil:
			gone = append(gone, lostID{retake: func() error { return l.takeBare(l.ctx, b) }})
		}
	}
	for i := range l.bares {
		b, last := &l.bares[i], i == len(l.bares)-1
		switch s, err := l.lookAt(b.producing); {
		case err != nil:
			return nil, err
		case s != nil && last && twins > 0:
			return nil, takenBy(b.producing, s)
		case s != nil:
			gone = append(gone, lostID{last, func() error { return l.takeBare(l.ctx, b) }})
		}
	}
	return gone, nil
}

// lookAt is the state of an id that was ours, if it is another's.
func (l *Lane) lookAt(mine producing) (*kmsg.DescribeTransactionsResponseTransactionState, error) {
	for {
		s, err := l.describe(l.ctx, mine.id)
		switch {
		case err == nil && mine.isOther(s):
			return s, nil
		case err == nil && s.ProducerEpoch == mine.epoch:
			return nil, nil
		case errors.Is(err, kerr.TransactionalIDNotFound):
			return nil, mine.hasExpired()
		case err != nil && isSetup(err):
			return nil, l.setupError(mine.id, err)
		}
		if !l.sleep(l.ctx, initPause) { // the coordinator is not known, or does not know yet
			return nil, context.Cause(l.ctx)
		}
	}
}
