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

// between is errBetween, and that it is because an id has expired.
func between(isExpired bool) error {
	if isExpired {
		return fmt.Errorf("%w: %w", errBetween, errExpired)
	}
	return errBetween
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

// retake takes the id of a window again that is in use, and tells how the window ended, if that is
// told. An id that its markers hold is set aside, where another one is free.
func (d *ids) retake(w *window, wait markers) (ending, error) {
	if w.twin == nil {
		return d.retakeUsedBare(wait)
	}
	t := w.twin
	if d.otherTwin().aside != nil {
		wait = untilWritten
	}
	expired := t.rest(d.ctx)
	end, err := d.retakeTwin(t, expired, wait)
	if errors.Is(err, errStuck) {
		t.aside = d.setAside(t.id, func() error { _, err := d.retakeTwin(t, nil, untilWritten); return err })
		return end, nil
	}
	return end, d.verify(t, err)
}

// retakeUsedBare is retake of a window without outputs.
func (d *ids) retakeUsedBare(wait markers) (ending, error) {
	b := &d.bares[d.bareTurn]
	if d.otherBare().aside != nil {
		wait = untilWritten
	}
	end, err := d.retakeBare(d.ctx, b, wait)
	if errors.Is(err, errStuck) {
		b.aside = d.setAside(b.id, func() error { _, err := d.retakeBare(d.ctx, b, untilWritten); return err })
		return end, nil
	}
	return end, d.verifyBare(b, err)
}

// retakeTwin takes the id of a twin again, which has come to rest, and has expired by what it found
// then. The error is errBetween if a successor may have been robbed: see verify.
func (d *ids) retakeTwin(t *twin, expired error, wait markers) (ending, error) {
	now, end, err := t.producing, untold, expired
	if err == nil {
		now, end, err = d.reclaim(d.ctx, t.producing, wait)
	}
	isExpired := errors.Is(err, errExpired)
	if err != nil && !isExpired {
		return end, err
	}
	if err := d.connect(t); err != nil {
		return end, err
	}
	// The client finds its coordinator, and looks once more: the shorter the time between the
	// steps, the rarer a robbery.
	s, err := describe(d.ctx, t.client, t.id)
	if err == nil && !isExpired && now.isOther(s) {
		return end, takenBy(now, s)
	}
	if err := d.init(d.ctx, t); err != nil {
		return end, err
	}
	if isExpired || !t.follows(now) {
		return end, between(isExpired)
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
func (d *ids) verify(t *twin, err error) error {
	switch {
	case isTaken(err):
		if !d.hasBare() { // a successor is not robbed on suspicion
			return d.orClosed(err)
		}
		if err := d.take(d.ctx, t); err != nil {
			return err
		}
	case !errors.Is(err, errBetween):
		return err
	}
	if !d.hasBare() {
		return d.orClosed(fmt.Errorf("%w %q: %w", ErrTaken, t.id, err))
	}
	d.cfg.Log.Warn("a transactional id was taken from us, or by us twice, or has expired; nobody else has begun with it", "transactional_id", t.id)
	return nil
}

// orClosed is the error, or that the lane is closed.
func (d *ids) orClosed(err error) error {
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	return err
}

// hasBare tells that an id without a client was ours still, and takes it again: one that can be
// taken. Where the one has to wait for its coordinator, or for markers, the other is tried.
func (d *ids) hasBare() bool {
	for d.ctx.Err() == nil {
		refused := true
		for i := range d.bares {
			b := &d.bares[i]
			if b.aside != nil {
				continue
			}
			ctx, cancel := context.WithTimeout(d.ctx, d.bareWait)
			_, err := d.retakeBare(ctx, b, untilWritten)
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
func (d *ids) verifyBare(b *bare, err error) error {
	if !isTaken(err) {
		return err
	}
	if !d.seesTwin() && !d.hasOther(b) {
		return d.orClosed(err)
	}
	if err := d.takeBare(d.ctx, b); err != nil {
		return err
	}
	has, waits := d.tryOther(b)
	if !has && !d.hasTwin() && (!waits || !d.hasOther(b)) {
		return d.orClosed(err)
	}
	d.cfg.Log.Warn("a transactional id was taken from us, or by us twice, or has expired; nobody else has begun with it", "transactional_id", b.id)
	return nil
}

// seesTwin tells that one of the twins looks like ours still.
func (d *ids) seesTwin() bool {
	for i := range d.twins {
		t := &d.twins[i]
		if t.aside != nil {
			continue
		}
		if s, err := d.lookAt(t.producing); err == nil && s == nil {
			return true
		}
	}
	return false
}

// hasTwin tells that the twin that is not in use was ours still, and takes it again: what a
// coordinator tells of an id may be old, what it writes is not. If that one is aside, what is told
// of the other has to do.
func (d *ids) hasTwin() bool {
	t := d.otherTwin()
	if t.aside != nil {
		return d.seesTwin()
	}
	_, err := d.retakeTwin(t, t.rest(d.ctx), untilWritten)
	return err == nil
}

// hasOther tells that the other id without a client was ours still, and takes it again. One that
// has to wait for its coordinator is waited for: no answer is not another's.
func (d *ids) hasOther(b *bare) bool {
	for d.ctx.Err() == nil {
		if has, waits := d.tryOther(b); has || !waits {
			return has
		}
	}
	return false
}

// tryOther is hasOther for a while.
func (d *ids) tryOther(b *bare) (has, waits bool) {
	o := &d.bares[0]
	if o == b {
		o = &d.bares[1]
	}
	if o.aside != nil {
		return false, false
	}
	ctx, cancel := context.WithTimeout(d.ctx, d.bareWait)
	defer cancel()
	_, err := d.retakeBare(ctx, o, untilWritten)
	return err == nil, ctx.Err() != nil
}

// retakeBare takes an id without a client again.
func (d *ids) retakeBare(ctx context.Context, b *bare, wait markers) (ending, error) {
	now, end, err := d.reclaim(ctx, b.producing, wait)
	if err != nil {
		return end, err // also if it has expired
	}
	b.pid, b.epoch, b.used = now.pid, now.epoch, time.Now()
	return end, nil
}

// takeAll takes every id. A predecessor that is taking one again at the same time may take it from
// us, and does not begin then; so the ids without a client come last, which nobody takes by
// mistake, and the others are looked at after them.
func (d *ids) takeAll() error {
	for i := range d.twins {
		if err := d.take(d.ctx, &d.twins[i]); err != nil {
			return err
		}
	}
	for i := range d.bares {
		if err := d.takeBare(d.ctx, &d.bares[i]); err != nil {
			return err
		}
	}
	if d.cfg.Number == 0 {
		if err := d.sweep(d.ctx); err != nil {
			return err
		}
	}
	if err := d.keepAll(); err != nil {
		return err
	}
	d.startKeeping()
	return nil
}

// maxRetakes is how often an id may be taken away from a process that begins.
const maxRetakes = 5

// keepAll looks whether all ids are still ours, and takes those again that were robbed. Of several
// that begin at once, and take them from each other, the one stays that has the last one: it has
// the others back within a pause. Who has lost the last one waits longer, and ends if somebody has
// taken a twin as well; if not, who took the last one is gone.
func (d *ids) keepAll() error {
	for range maxRetakes {
		gone, err := d.lost()
		if err == nil && len(gone) > 0 {
			d.cfg.Log.Warn("somebody has taken a transactional id from us while we took the others", "transactional_id", d.cfg.ID)
			pause := d.takePause
			if gone.hasLast() {
				pause *= 3
			}
			if !d.sleep(d.ctx, pause) {
				return context.Cause(d.ctx)
			}
			gone, err = d.lost()
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
	return fmt.Errorf("%w %q: somebody takes it again and again", ErrTaken, d.cfg.ID)
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
func (d *ids) lost() (gone lostIDs, err error) {
	for i := range d.twins {
		t := &d.twins[i]
		switch s, err := d.lookAt(t.producing); {
		case err != nil:
			return nil, err
		case s != nil:
			gone = append(gone, lostID{retake: func() error { return d.take(d.ctx, t) }})
		}
	}
	twins := len(gone)
	for _, b := range d.former {
		switch s, err := d.lookAt(b.producing); {
		case err != nil:
			return nil, err
		case s != nil:
			gone = append(gone, lostID{retake: func() error { return d.takeBare(d.ctx, b) }})
		}
	}
	for i := range d.bares {
		b, last := &d.bares[i], i == len(d.bares)-1
		switch s, err := d.lookAt(b.producing); {
		case err != nil:
			return nil, err
		case s != nil && last && twins > 0:
			return nil, takenBy(b.producing, s)
		case s != nil:
			gone = append(gone, lostID{last, func() error { return d.takeBare(d.ctx, b) }})
		}
	}
	return gone, nil
}

// lookAt is the state of an id that was ours, if it is another's.
func (d *ids) lookAt(mine producing) (*kmsg.DescribeTransactionsResponseTransactionState, error) {
	for {
		s, err := d.describe(d.ctx, mine.id)
		switch {
		case err == nil && mine.isOther(s):
			return s, nil
		case err == nil && s.ProducerEpoch == mine.epoch:
			return nil, nil
		case errors.Is(err, kerr.TransactionalIDNotFound):
			return nil, mine.hasExpired()
		case err != nil && isSetup(err):
			return nil, d.cfg.setupError(mine.id, err)
		}
		if !d.sleep(d.ctx, initPause) { // the coordinator is not known, or does not know yet
			return nil, context.Cause(d.ctx)
		}
	}
}
