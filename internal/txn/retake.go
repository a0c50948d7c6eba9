package txn

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
)

// An id that was ours is taken again in two steps. Under its epoch, which the coordinator refuses
// if somebody has it; and, for a twin, by its new Kafka client, which can only ask without one, and
// would rob who came in between: a process that was stopped there, and wakes when its successor has
// everything, must not be able to commit again. Every taking moves the epoch by one. So the second
// step is ours alone if the epoch is the next one. If it is not, either an answer was lost and the
// client has asked twice, or somebody was robbed. A successor takes the ids without a client last,
// and begins only when its others are still its own after that. So one of those, taken under its
// epoch after the robbery, shows that there is no successor that has begun, and that the one that
// may be about to will find out.

// errBetween is why an id is not ours yet: somebody may have had it since we had it last.
var errBetween = errors.New("txn: the producer's epoch has moved by more than one")

// follows tells that nobody has had an id since it was as before tells, to the taking that has made
// it now. It had expired: nobody has had it since it was forgotten.
func (now producing) follows(before producing, expired bool) bool {
	switch {
	case expired, before.epoch == math.MaxInt16-1: // a new producer id
		return now.epoch == 0
	}
	return now.pid == before.pid && now.epoch == before.epoch+1
}

// retake takes the id of a window again.
func (l *Lane) retake(w *window) error {
	if w != nil && !w.tried {
		b := &l.bares[l.bareTurn]
		end, err := l.retakeBare(b, l.bares[1-l.bareTurn].aside == nil)
		if l.outcome.told = end; errors.Is(err, errStuck) {
			b.aside = l.setAside(b.id, func() error { _, err := l.retakeBare(b, false); return err })
			return nil
		}
		return err
	}
	t := &l.twins[l.turn]
	t.rest(l.ctx)
	end, err := l.retakeTwin(t, l.other().aside == nil)
	l.outcome.told = end
	if errors.Is(err, errStuck) {
		t.aside = l.setAside(t.id, func() error { _, err := l.retakeTwin(t, false); return err })
		return nil
	}
	return l.verify(err)
}

// retakeTwin takes the id of a twin again. The error is errBetween if a successor may have been
// robbed: see verify.
func (l *Lane) retakeTwin(t *twin, free bool) (ending, error) {
	now, end, err := l.reclaim(l.ctx, t.producing, free)
	if err != nil {
		return end, err
	}
	expired := now == t.producing
	if err := l.connect(t); err != nil {
		return end, err
	}
	// The client finds its coordinator, and looks once more: the shorter the time between the
	// steps, the rarer a robbery.
	s, err := describe(l.ctx, t.client, t.id)
	if err == nil && !expired && (s.ProducerID != now.pid || s.ProducerEpoch != now.epoch) {
		return end, takenBy(now, s)
	}
	if err := l.init(l.ctx, t); err != nil {
		return end, err
	}
	if !t.follows(now, expired) {
		return end, errBetween
	}
	return end, nil
}

// verify finds out what a twin's epoch that has jumped means. It is the goroutine's.
func (l *Lane) verify(err error) error {
	if !errors.Is(err, errBetween) {
		return err
	}
	l.cfg.Log.Warn("a transactional id was taken again, and somebody may have had it in between", "err", err)
	for i := range l.bares {
		b := &l.bares[i]
		if b.aside != nil {
			continue
		}
		_, err := l.retakeBare(b, false)
		return err
	}
	return fmt.Errorf("%w %q: %w", ErrTaken, l.cfg.ID, err)
}

// retakeBare takes an id without a client again.
func (l *Lane) retakeBare(b *bare, free bool) (ending, error) {
	now, end, err := l.reclaim(l.ctx, b.producing, free)
	switch {
	case err != nil:
		return end, err
	case now == b.producing: // it had expired
		if err := l.takeBare(l.ctx, b); err != nil {
			return end, err
		}
		if !b.follows(now, true) {
			return end, fmt.Errorf("%w %q: it had expired, and somebody else has taken it", ErrTaken, b.id)
		}
		return end, nil
	}
	b.pid, b.epoch = now.pid, now.epoch
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

// keepAll looks whether all ids are still ours, and takes those again that were robbed. Somebody
// who has one without a client is a successor.
func (l *Lane) keepAll() error {
	for range maxRetakes {
		lost, err := l.lost()
		if err != nil || len(lost) == 0 {
			return err
		}
		l.cfg.Log.Warn("somebody has taken a transactional id from us while we took the others", "transactional_id", lost[0].id)
		if !l.sleep(l.ctx, l.takePause) {
			return context.Cause(l.ctx)
		}
		if lost, err = l.lost(); err != nil { // a successor has all by now
			return err
		}
		for _, t := range lost {
			if err := l.take(l.ctx, t); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%w %q: somebody takes it again and again", ErrTaken, l.cfg.ID)
}

// lost are the twins whose ids somebody else has.
func (l *Lane) lost() ([]*twin, error) {
	var lost []*twin
	look := func(mine producing) (bool, error) {
		for {
			s, err := l.describe(l.ctx, mine.id)
			switch {
			case err == nil && (s.ProducerID != mine.pid || s.ProducerEpoch != mine.epoch):
				return true, takenBy(mine, s)
			case err == nil:
				return false, nil
			case isSetup(err):
				return false, l.setupError(mine.id, err)
			case errors.Is(err, kerr.TransactionalIDNotFound):
				return false, nil // no coordinator forgets so soon: it has not loaded it yet
			}
			if !l.sleep(l.ctx, initPause) {
				return false, context.Cause(l.ctx)
			}
		}
	}
	for i := range l.twins {
		t := &l.twins[i]
		if gone, err := look(t.producing); gone {
			lost = append(lost, t)
		} else if err != nil {
			return nil, err
		}
	}
	for i := range l.bares {
		if _, err := look(l.bares[i].producing); err != nil {
			return nil, err
		}
	}
	return lost, nil
}
