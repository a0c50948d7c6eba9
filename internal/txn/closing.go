package txn

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// close writes the window's records and offsets, side by side since offsets mean nothing before the
// end, and ends the transaction. EndTxn goes out only if every record and every offset is in the
// transaction; what is in doubt is aborted, which costs a window, and no more.
func (l *Lane) close() event {
	w := l.window
	w.tell()
	if w.strangers = w.stage(); len(w.strangers) > 0 {
		return failed
	}
	if w.parts, w.tooLarge = plan(w.claims); w.tooLarge != nil {
		return failed
	}
	if w.twin == nil {
		return l.closeBare()
	}
	t := w.twin
	ctx, cancel := context.WithDeadline(l.ctx, w.opened.Add(l.cfg.Timeout*3/4))
	defer cancel()
	pid, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		w.why = err
		return failed
	}
	as := t.producing
	if as.isForgottenBy(pid, epoch) {
		w.why = as.hasExpired()
		return failed
	}
	if pid != as.pid || epoch != as.epoch { // the client has taken it by itself
		as = producing{id: t.id, pid: pid, epoch: epoch}
	}
	var side sync.WaitGroup
	var stuck atomic.Bool
	side.Go(func() { _ = t.client.Flush(ctx) }) // ends the linger; the promises say what came of it
	side.Go(func() {
		select {
		case <-w.fail:
			cancel()
		case <-ctx.Done():
		}
	})
	if l.ids.otherTwin().aside == nil {
		side.Go(func() { l.ids.lookStuck(ctx, w, as, func() { stuck.Store(true); cancel() }) })
	}
	offsets := l.goOffsets(ctx, t.client, as)
	w.finish()
	select {
	case <-w.written:
	case <-ctx.Done():
	}
	w.flushed = time.Now()
	w.refused = offsets()
	over := ctx.Err()
	cancel()
	side.Wait()
	w.stuck = stuck.Load()
	if w.failed() || over != nil || len(w.refused) > 0 || !w.mayEnd(l.ctx, as) {
		return failed
	}
	return l.endTxn(w, as)
}

// goOffsets sends the offsets of all parts of the window at once; the function that it returns
// waits for them.
func (l *Lane) goOffsets(ctx context.Context, cl *kgo.Client, as producing) func() []*refusal {
	w := l.window
	var all sync.WaitGroup
	var taken atomic.Bool
	refused := make([]*refusal, len(w.parts))
	l.offsets.inputs.begin(w.parts)
	for i, p := range w.parts {
		all.Go(func() {
			if refused[i] = l.offsets.learn(ctx, cl, &p); refused[i] != nil {
				return
			}
			var look sync.WaitGroup
			defer look.Wait()
			ctx, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			if l.cfg.Shared {
				look.Go(func() { l.lookAround(ctx, p.holder.Group, &taken, func() { cancel(errAway) }) })
			}
			if refused[i] = l.offsets.commitPart(ctx, cl, as, p, l.backlog.parked.patienceOf(p.claims[0])); refused[i] == nil {
				taken.Store(true)
			} else if l.offsets.isAway(refused[i], context.Cause(ctx)) {
				refused[i].blame = ofAway
			}
		})
	}
	return func() []*refusal {
		all.Wait()
		for i, r := range refused {
			if r != nil && r.blame == ofAway && !taken.Load() && !l.othersWait(w.parts[i].holder.Group) {
				r.blame = ofWindow
			}
		}
		return slices.DeleteFunc(refused, func(r *refusal) bool { return r == nil })
	}
}

// mayEnd looks, once everything is written, whether the transaction is still that of its records
// and offsets, and nothing in it was given up.
func (w *window) mayEnd(ctx context.Context, as producing) bool {
	if w.acked.Load() == 0 || int(w.acked.Load()) != len(w.records) { // of a transaction without a record the client says that it was committed, and aborts it
		return false
	}
	pid, epoch, err := w.twin.client.ProducerID(ctx)
	return err == nil && pid == as.pid && epoch == as.epoch && !w.hasAbandoned()
}

// forEnd is how long the answer to an EndTxn is waited for: of a lane that is closed meanwhile a
// little longer, since what is committed should be known as such.
func (l *Lane) forEnd() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), l.cfg.Timeout)
	stop := context.AfterFunc(l.ctx, func() {
		grace := time.NewTimer(l.grace)
		defer grace.Stop()
		select {
		case <-grace.C:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() { stop(); cancel() }
}

// closeGrace is how long a lane that is closed waits for the end of its last transaction.
const closeGrace = 3 * time.Second

// endTxn ends the transaction of a twin.
func (l *Lane) endTxn(w *window, as producing) event {
	t := w.twin
	ctx, cancel := l.forEnd()
	defer cancel()
	t.producing = as
	err := t.client.EndTransaction(ctx, kgo.TryCommit)
	switch {
	case errors.Is(err, kerr.OperationNotAttempted), errors.Is(err, kerr.UnknownTopicID): // the client has asked nobody
		w.why = err
		return failed
	case err != nil:
		return l.unknownEnd(w, err)
	}
	pid, epoch, err := t.client.ProducerID(ctx)
	if err != nil || pid == as.pid && epoch == as.epoch {
		return l.unknownEnd(w, errUnmoved)
	}
	t.moves(pid, epoch)
	return landed
}

// unknownEnd notes that nobody knows how the window has ended.
func (l *Lane) unknownEnd(w *window, why error) event {
	l.stats.unknown.Add(1)
	w.why, w.unknown = why, true
	return unknown
}

var errUnmoved = errors.New("txn: the client says that the transaction was committed, and the producer's epoch did not move")

// closeBare ends a window without outputs.
func (l *Lane) closeBare() event {
	w := l.window
	w.bare = l.ids.useBare()
	b := w.bare
	ctx, cancel := context.WithDeadline(l.ctx, w.opened.Add(l.cfg.Timeout*3/4))
	defer cancel()
	w.finish()
	w.flushed = time.Now()
	var side sync.WaitGroup
	var stuck atomic.Bool
	if l.ids.otherBare().aside == nil {
		side.Go(func() { l.ids.lookStuck(ctx, w, b.producing, func() { stuck.Store(true); cancel() }) })
	}
	w.refused = l.goOffsets(ctx, l.plain, b.producing)()
	over := ctx.Err()
	cancel()
	side.Wait()
	w.stuck = stuck.Load()
	if len(w.refused) > 0 || over != nil || w.hasAbandoned() {
		return failed
	}
	if len(w.parts) == 0 { // units without an input and without outputs
		return landed
	}
	end, cancelEnd := l.forEnd()
	defer cancelEnd()
	err := l.ids.endBare(end, b, true)
	if err != nil {
		return l.unknownEnd(w, err)
	}
	return landed
}

// report tells that the window is committed.
func (l *Lane) report() event {
	w := l.window
	l.stats.commit(w, l.cfg.Took)
	l.tellCommits()
	w.settle()
	for _, r := range w.runs {
		r.Batch.Committed(r.From, r.To)
	}
	eachClaim(w.runs, func(st *Claim, n int) { st.decided(n) })
	for i := range w.parts {
		l.backlog.parked.took(&w.parts[i])
	}
	for _, st := range w.claims {
		if run, due := st.putOff(); due {
			l.backlog.add(run)
		}
	}
	if w.twin != nil {
		l.ids.nextTwin()
	}
	now := time.Now()
	l.pace.ended(now, now.Sub(w.flushed), w.units, countUnits(l.backlog.queue)+l.inbox.units())
	l.intake.bounds.grow()
	l.topics.unhosted.written(w)
	l.intake.reuse(w)
	l.window = nil
	return ready
}

// eachClaim counts the units of runs by their claims.
func eachClaim(runs []Run, fn func(*Claim, int)) {
	for _, r := range runs {
		var last *Claim
		n := 0
		for i := r.From; i < r.To; i++ {
			st := r.Batch.Unit(i).Claim
			if st != last && n > 0 {
				if last != nil {
					fn(last, n)
				}
				n = 0
			}
			last = st
			n++
		}
		if last != nil && n > 0 {
			fn(last, n)
		}
	}
}
