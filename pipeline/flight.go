package pipeline

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// flightSize is how many units one Deliver call takes at most.
const flightSize = 256

// flight is the units of one Deliver call, of one stay of one partition, and the inputs that they were made from. It is their Reporter.
//
// It is pooled. It goes back when all its units are reported AND Deliver has returned: reports may come before Deliver returns, which
// may still look at the slice of units then.
type flight struct {
	p          *Pipeline
	assignment *consumer.Assignment
	units      []producer.Unit
	msgs       []*consumer.Message
	letters    map[int]*rejection // units that are dead letters
	tries      int                // redeliveries that these units had
	open       atomic.Int32       // units not reported, plus one for Deliver
}

var flights = sync.Pool{New: func() any {
	return &flight{units: make([]producer.Unit, 0, flightSize), msgs: make([]*consumer.Message, 0, flightSize)}
}}

func newFlight(p *Pipeline, a *consumer.Assignment) *flight {
	f := flights.Get().(*flight)
	f.p, f.assignment = p, a
	return f
}

func (f *flight) add(m *consumer.Message, outputs []producer.Record) {
	f.units = append(f.units, producer.Unit{Source: producer.Source{Epoch: f.assignment.Epoch, Index: m.Index(), Offset: m.Offset}, Outputs: outputs})
	f.msgs = append(f.msgs, m)
}

func (f *flight) addLetter(m *consumer.Message, r *rejection) {
	if f.letters == nil {
		f.letters = map[int]*rejection{}
	}
	f.letters[len(f.units)] = r
	f.add(m, []producer.Record{f.p.deadLetter(m, r)})
}

// release gives back n of what keeps the flight from the pool.
func (f *flight) release(n int) {
	if f.open.Add(int32(-n)) > 0 {
		return
	}
	clear(f.units) // handlers' memory must not live as long as the pool
	clear(f.msgs)
	clear(f.letters)
	f.units, f.msgs, f.p, f.assignment = f.units[:0], f.msgs[:0], nil, nil
	f.tries = 0
	flights.Put(f)
}

// Acked implements producer.Reporter: these inputs are done (S1: this, and the dead letter's acknowledgement, are the only ways there).
func (f *flight) Acked(first, n int) {
	p := f.p
	consumer.DoneAll(f.msgs[first : first+n])
	p.counts.acked.Add(int64(n))
	if len(f.letters) > 0 {
		for i := first; i < first+n; i++ {
			if f.letters[i] != nil {
				p.counts.deadLetters.Add(1)
			}
		}
	}
	f.release(n)
}

// Failed implements producer.Reporter. It must not block, so the undertaker goroutine decides what becomes of the input.
func (f *flight) Failed(unit int, err *producer.Error) {
	f.p.undertaker.push(failure{assignment: f.assignment, m: f.msgs[unit], outputs: f.units[unit].Outputs, letter: f.letters[unit], err: err, tries: f.tries})
	f.release(1)
}

// deliver hands the flight over. It blocks while the producer is full, until the stay of the partition ends.
func (f *flight) deliver() {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		f.open.Store(int32(len(f.units)) + 1)
		err := f.p.cfg.Producer.Deliver(f.assignment.Context(), f.units, f)
		if err == nil {
			f.release(1)
			return
		}
		if !errors.Is(err, producer.ErrFull) || !sleep(f.assignment.Context(), pause) {
			f.refused(err)
			return
		}
	}
}

// refused decides after a Deliver that took nothing.
func (f *flight) refused(err error) {
	p, n := f.p, len(f.units)
	bad, invalid := errors.AsType[*producer.Error](err)
	switch {
	case f.assignment.Context().Err() != nil: // the partition left: somebody else processes these inputs
		p.counts.dropped.Add(int64(n))
		f.release(n + 1)
	case errors.Is(err, producer.ErrClosed):
		p.producerClosed()
		f.release(n + 1)
	case invalid && n > 1:
		f.deliverSingly()
	case invalid:
		f.Failed(0, bad)
		f.release(1)
	default:
		p.stopBy(&DeliveryError{Err: err})
		f.release(n + 1)
	}
}

// deliverSingly finds out which unit the producer refuses: its neighbours must not suffer for it.
func (f *flight) deliverSingly() {
	for i := range f.units {
		one := newFlight(f.p, f.assignment)
		one.units, one.msgs = append(one.units, f.units[i]), append(one.msgs, f.msgs[i])
		if r := f.letters[i]; r != nil {
			one.letters = map[int]*rejection{0: r}
		}
		one.deliver()
	}
	f.release(len(f.units) + 1)
}

// sleep waits; false: ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
