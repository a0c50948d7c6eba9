package txn

import (
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

func isTaken(err error) bool     { return errors.Is(err, ErrTaken) }
func isClosed(err error) bool    { return errors.Is(err, ErrClosed) }
func isNoFeature(err error) bool { return errors.Is(err, errNoFeature) }

// takeIn takes units into the window, those of an aborted one first, and tells whether it is full.
// Those have a window of their own: with each abort there are fewer of them that cause one, and
// whoever has others to send cannot keep them from being committed.
func (l *Lane) takeIn() (full bool) {
	l.again, full = l.takeFrom(l.again)
	if full || len(l.again) > 0 {
		return full
	}
	if l.alone && l.window.units > 0 {
		return true
	}
	l.alone = false
	l.queue, full = l.takeFrom(l.queue)
	return full
}

// takeFrom takes what fits, and returns what is left. A window is cut between units only.
func (l *Lane) takeFrom(runs []Run) (left []Run, full bool) {
	w := l.window
	l.writable = "" // asked for again
	for n := range runs {
		r := &runs[n]
		var last *Claim
		fate := goesIn
		for ; r.From < r.To; r.From++ {
			if w.why != nil || l.isFull(w) {
				return slices.Delete(runs, 0, n), true
			}
			st := r.Batch.Unit(r.From).Claim
			if st != last {
				last, fate = st, l.fateOf(st)
			}
			one := Run{r.Batch, r.From, r.From + 1}
			switch fate {
			case goesIn:
				l.enter(one)
			case waits:
				l.parked.park(parking{st.of, st.holder}, one)
			case isOver:
				drop(one, st)
			}
		}
	}
	clear(runs)
	return runs[:0], l.isFull(w)
}

// enter takes a unit into the window, unless it can be told before that Kafka would refuse it.
func (l *Lane) enter(one Run) {
	l.recs = l.recs[:0]
	one.Batch.Produce(one.From, l.collect)
	if bad := l.refuse(l.recs); bad != nil {
		fail(one, bad)
	} else {
		l.window.add(one)
		for _, rec := range l.recs {
			l.emit(rec)
		}
	}
	clear(l.recs)
}

func (l *Lane) isFull(w *window) bool {
	return len(w.records) >= l.cfg.Records || w.bytes >= l.cfg.Bytes || l.limit > 0 && w.units >= l.limit || w.units >= maxUnits
}

// maxUnits bounds a window of units without outputs.
const maxUnits = 1 << 17

// fate is what becomes of a unit that is to be taken in.
type fate uint8

const (
	goesIn fate = iota
	waits       // for a newer membership, or for its group's coordinator
	isOver      // its claim was given up
)

func (l *Lane) fateOf(st *Claim) fate {
	switch {
	case st == nil:
		return goesIn
	case st.isAbandoned():
		return isOver
	}
	if l.parked.has(st) {
		return waits
	}
	return goesIn
}

func drop(r Run, st *Claim) {
	r.Batch.Dropped(r.From, r.To)
	st.decided(r.To - r.From)
}

// emit produces a record of the window. The first one begins the transaction.
func (l *Lane) emit(r *kgo.Record) {
	w := l.window
	if w.why != nil {
		return
	}
	if w.twin == nil {
		w.twin = l.ids.useTwin()
		if err := w.twin.client.BeginTransaction(); err != nil {
			w.why = err
			return
		}
	}
	cl := w.twin.client
	w.left.Add(1)
	w.records = append(w.records, r)
	w.bytes += int64(len(r.Key)+len(r.Value)) + recordCost
	cl.Produce(context.Background(), r, w.made)
	if len(w.records)%sendEvery == 0 {
		_ = cl.Flush(ended) // it ends the linger, and then sees that the context is over
	}
}

// sendEvery is after how many records of a window nothing lingers any more: where there are as
// many, the brokers write while the window fills, and not when it closes.
const sendEvery = 4096

var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// recordCost is what a record takes beside its key and value, about.
const recordCost = 64
