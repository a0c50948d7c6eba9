package txn

import (
	"cmp"
	"context"
	"errors"
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
	l.relearn(w)
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
	units, why := w.blamed()
	notYet := l.topics.again(units, time.Now())
	fault := firstFault(units)
	l.pace.aborted(len(units) > 0)
	l.intake.bounds.shrink(units)
	setup := why != nil && blameRecord(why) == ofSetup
	for _, r := range w.refused {
		why = cmp.Or(why, r.err)
		switch {
		case r.blame == ofAway:
			l.miss(r)
		case r.blame == ofSetup:
			return l.ends(l.cfg.setupError(l.cfg.ID, r.named()))
		case r.isOfMember():
			l.lose(r)
		}
	}
	if setup {
		return l.ends(l.cfg.setupError(l.cfg.ID, why))
	}
	w.why = cmp.Or(w.why, why, notYet)
	found := newBlames(units, &w.outcome)
	l.stats.abort(w, l.cfg.Took)
	l.tellAbort(Abort{l.cfg.ID, w.units, len(found.units), w.reason(fault)})
	behind := l.backlog.takeBehind(&l.inbox, found.refused)
	var again []Run
	w.each(func(place int, b Batch, i int) {
		one := Run{b, i, i + 1}
		st := b.Unit(i).Claim
		switch next, err := found.of(place, st); next {
		case fails:
			l.topics.forget(err)
			fail(one, err)
		case goesIn:
			again = appendRun(again, one)
		case waits:
			l.backlog.parked.refuse(st, found.stale[st], l.Wake)
			l.backlog.parked.park(parkingOf(st), one)
		case isOver:
			drop(one, st)
		}
	})
	for _, r := range behind {
		for i := r.From; i < r.To; i++ {
			fail(Run{r.Batch, i, i + 1}, found.refused[r.Batch.Unit(i).Claim])
		}
	}
	l.backlog.retry(again)
	l.window = nil
	return e
}

// lose gives up what a member holds that its group does not know. Its consumer may be another
// member by now: what it holds as that is not the old one's.
func (l *Lane) lose(r *refusal) {
	err := &MemberError{r.member.MemberID, r.err}
	told := map[parking]bool{}
	for _, st := range r.claims {
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
	f := found{committed: w.told == wasCommitted}
	if !w.told.isCertain() {
		var err error
		if f, err = l.offsets.resolve(l.ctx, w.parts, w.told); err != nil {
			return l.ends(err)
		}
	}
	if f.committed {
		w.flushed = time.Now()
		return in
	}
	w.outcome = outcome{why: w.why}
	if f.why != nil {
		l.cfg.Log.Error("nothing tells how a transaction ended: what it had is given up, and taken up anew where its groups stand", "transactional_id", l.cfg.ID, "err", f.why)
		w.why = f.why
	}
	for i := range f.lost {
		w.refused = append(w.refused, f.lost[i].lost(f.why)...)
	}
	return l.sortOut(w, out)
}

// lost are the refusals of a part of which nobody knows whether it is committed: its members have
// to take it up anew.
func (p *part) lost(why error) (all []*refusal) {
	for _, r := range p.byMember() {
		all = append(all, &refusal{claims: r.claims, member: r.member, blame: ofMember, err: why})
	}
	return all
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
