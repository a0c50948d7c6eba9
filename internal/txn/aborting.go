package txn

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// abort gives the transaction up, and its units back: the guilty ones fail, the others are tried
// again.
func (l *Lane) abort() event {
	w := l.window
	e := sound
	if w.stuck {
		return broken // it would be refused
	}
	switch err := l.tryAbort(w); {
	case err != nil:
		l.cfg.Log.Warn("a transaction could not be aborted: its id is taken anew", "err", err)
		return broken
	case w.isFenced():
		return broken
	}
	return l.sortOut(w, e)
}

// tryAbort aborts what a window has open. An error: nobody knows what is open now.
func (l *Lane) tryAbort(w *window) error {
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.Timeout)
	defer cancel()
	t := w.twin
	switch {
	case t == nil && len(w.parts) == 0:
		return nil
	case t == nil:
		return l.ids.endBare(ctx, w.bare, false)
	}
	if err := t.client.AbortBufferedRecords(ctx); err != nil {
		return err
	}
	if err := w.await(ctx); err != nil {
		return err
	}
	before := t.producing
	if err := t.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return err
	}
	pid, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	if pid == before.pid && epoch == before.epoch {
		return errors.New("the producer's epoch did not move")
	}
	if before.isForgottenBy(pid, epoch) {
		return before.hasExpired()
	}
	t.moves(pid, epoch)
	return nil
}

// sortOut decides about each unit of an aborted window.
func (l *Lane) sortOut(w *window, e event) event {
	w.unstage()
	units, other := w.blamed()
	fault := firstFault(units)
	l.pace.aborted(len(units) > 0)
	l.intake.bounds.shrink(units)
	for _, place := range w.strangers {
		units[place] = ErrNotOpen
	}
	gone, stale := map[*Claim]error{}, map[*Claim]int32{}
	refused := map[*Claim]error{} // whose offsets cannot be committed
	setup := other != nil && blameRecord(other) == ofSetup
	for _, r := range w.refused {
		if other == nil {
			other = r.err
		}
		switch r.blame {
		case ofAway:
			l.miss(r)
		case ofSetup:
			return l.ends(l.cfg.setupError(l.cfg.ID, r.err))
		case ofStale:
			for _, st := range r.claims {
				stale[st] = r.member.Generation
			}
		case ofMember:
			if !errors.Is(r.err, errGivenUp) {
				l.lose(r, gone)
			}
		case ofUnit:
			for _, st := range r.claims {
				refused[st] = offsetError(st, r.of(st))
			}
		}
	}
	if setup {
		return l.ends(l.cfg.setupError(l.cfg.ID, other))
	}
	if st := w.tooLarge; st != nil {
		refused[st] = offsetError(st, ErrSetTooLarge)
	}
	maps.Copy(gone, refused)
	if w.why == nil {
		w.why = other
	}
	l.stats.abort(w, l.cfg.Took)
	l.tellAbort(Abort{l.cfg.ID, w.units, len(units), w.reason(fault)})
	behind := l.backlog.takeBehind(&l.inbox, refused)
	var again []Run
	w.each(func(place int, b Batch, i int) {
		one := Run{b, i, i + 1}
		st := b.Unit(i).Claim
		switch err := units[place]; {
		case err != nil:
			l.topics.forget(err)
			fail(one, err)
		case st == nil:
			again = appendRun(again, one)
		case gone[st] != nil:
			fail(one, gone[st])
		case st.isAbandoned():
			drop(one, st)
		default:
			generation, isStale := stale[st]
			next := goesIn
			if isStale {
				next = st.staleFate(generation)
			}
			switch next {
			case goesIn:
				again = appendRun(again, one)
			case waits:
				l.backlog.parked.refuse(st, generation, l.Wake)
				l.backlog.parked.park(parkingOf(st), one)
			case isOver:
				drop(one, st)
			}
		}
	})
	for _, r := range behind {
		for i := r.From; i < r.To; i++ {
			fail(Run{r.Batch, i, i + 1}, refused[r.Batch.Unit(i).Claim])
		}
	}
	l.backlog.retry(again)
	l.window = nil
	return e
}

// lose gives up what a member holds that its group does not know. Its consumer may be another
// member by now: what it holds as that is not the old one's.
func (l *Lane) lose(r *refusal, gone map[*Claim]error) {
	err := &MemberError{r.member.MemberID, r.err}
	told := map[parking]bool{}
	for _, st := range r.claims {
		gone[st] = err
		at := parking{st.of, st.holder}
		if told[at] {
			continue
		}
		told[at] = true
		if st.of.abandonMember(st.holder, r.member.MemberID) && st.of.gone != nil {
			st.of.gone(st.holder, err)
		}
	}
	for _, st := range r.claims {
		st.of.abandonOne(st)
	}
}

// staleFate is what becomes of a unit whose claim's generation was refused. One that is held waits
// for a newer one. One that is released has its last: if that is the refused one, what comes behind
// is given up with it, since it must not be committed without what is before it.
func (st *Claim) staleFate(refused int32) fate {
	st.of.mu.Lock()
	defer st.of.mu.Unlock()
	switch {
	case st.state == held:
		return waits
	case st.state == released && st.under.Generation != refused:
		return goesIn
	case st.state == released:
		st.abandon()
	}
	return isOver
}

// renew takes the id anew whose transaction nobody can say anything of. What is open under it is
// aborted by that; what was committed claims committed.
func (l *Lane) renew() event {
	l.stats.reinits.Add(1)
	w := l.window
	l.cfg.Log.Warn("a transactional id is taken anew", "err", w.why)
	wait := aWhile
	switch {
	case l.state == Uncertain:
		wait = onceTold
	case w.stuck:
		wait = noMore
	}
	var err error
	if w.told, err = l.ids.retake(w, wait); err != nil {
		return l.ends(err)
	}
	if l.state == Uncertain {
		return ready
	}
	if err := w.await(l.ctx); err != nil {
		return l.ends(err)
	}
	return l.sortOut(w, ready)
}

// look asks the offsets how the window ended.
func (l *Lane) look() event {
	w := l.window
	committed, err := w.told == wasCommitted, error(nil)
	if !w.told.isCertain() {
		committed, err = l.offsets.resolve(l.ctx, w.parts, w.told)
	}
	switch {
	case err != nil:
		return l.ends(err)
	case committed:
		w.flushed = time.Now()
		return in
	}
	w.outcome = outcome{why: w.why}
	return l.sortOut(w, out)
}

// giveBack aborts a window at the end of the lane. Its records must have their fates before their
// owner hears of them. It counts as aborted, unless nobody knows whether it was committed.
func (l *Lane) giveBack(w *window, why error) {
	w.unstage()
	if w.units > 0 && !w.unknown {
		defer func() {
			l.stats.abort(w, l.cfg.Took)
			l.tellAbort(Abort{l.cfg.ID, w.units, 0, why})
		}()
	}
	if t := w.twin; t != nil && t.aside == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), time.Second)
		defer cancel()
		if t.client.AbortBufferedRecords(ctx) == nil && !isTaken(why) {
			_ = t.client.EndTransaction(ctx, kgo.TryAbort)
		}
		t.client.Close()
	}
	w.finish()
	<-w.written
}
