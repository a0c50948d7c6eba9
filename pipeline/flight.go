package pipeline

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/producer"
)

// flightSize is how many units one Deliver call takes at most.
const flightSize = 256

// flight is the units of one Deliver call, of one assignment of one partition, and the inputs that
// they were made from. It is their Reporter.
//
// It is pooled. It goes back when all its units are reported AND Deliver has returned: reports may
// come before Deliver returns, which may still look at the slice of units then.
type flight struct {
	p          *Pipeline
	lane       *lane // nil: made by failures
	assignment *consumer.Assignment
	account    *account
	units      []producer.Unit
	msgs       []*consumer.Message
	letters    map[int]*rejection // units that are dead letters
	attempts   map[int]int        // of units whose handler was called more than once
	tries      int                // redeliveries that these units had
	begun      time.Time          // when the producer was first asked to take it
	open       atomic.Int32       // units not reported, plus one for Deliver
	tracked

	// With SourceHeaders. They stay when the flight goes to the pool.
	source      sourceText
	sourceEpoch uint64 // whose source is; 0: nobody's
	stamper     stamper
}

// tracked is what its lane has to know for keys to move: see sharing. The fields from listed on are
// under the lane's mu.
type tracked struct {
	slots             []uint16 // of units
	listed            bool
	before, following *flight // of those of the lane that are on their way
}

// newUnits is what a flight has room for at first. It grows as it fills, and the pool keeps what it
// has: one that had room for flightSize from the start would take 14 KiB for each single input that
// waits for a sidecar that is away.
const newUnits = 4

var flights = sync.Pool{New: func() any {
	return &flight{units: make([]producer.Unit, 0, newUnits), msgs: make([]*consumer.Message, 0, newUnits)}
}}

func newFlight(p *Pipeline, l *lane, a *consumer.Assignment) *flight {
	f := flights.Get().(*flight)
	f.p, f.lane, f.assignment, f.account = p, l, a, p.sentinels.account(a)
	return f
}

// addNew adds a unit that was not delivered before.
func (f *flight) addNew(m *consumer.Message, outputs []producer.Record, letter bool) {
	if f.p.cfg.SourceHeaders && len(outputs) > 0 {
		if a := f.assignment; f.sourceEpoch != a.Epoch {
			f.source, f.sourceEpoch = sourceOf(a, f.p.cfg.Consumer.Group), a.Epoch
		}
		f.stamper.stamp(f.source, m.Original().Offset, outputs, letter)
	}
	f.add(m, outputs)
}

func (f *flight) add(m *consumer.Message, outputs []producer.Record) {
	if n := len(f.units); n == cap(f.units) { // two steps to flightSize, not seven
		f.units, f.msgs = slices.Grow(f.units, 7*n), slices.Grow(f.msgs, 7*n)
	}
	from := producer.Source{Epoch: f.assignment.Epoch, Index: m.Index(), Offset: m.Original().Offset}
	f.units = append(f.units, producer.Unit{Source: from, Outputs: outputs})
	f.msgs = append(f.msgs, m)
}

func (f *flight) addLetter(m *consumer.Message, r *rejection, letter producer.Record) {
	f.noteLetter(r)
	outputs := []producer.Record{letter}
	if r.size >= letterKeyValue { // not even the source fits
		f.add(m, outputs)
		return
	}
	f.addNew(m, outputs, true)
}

// noteLetter says that the next unit is a dead letter.
func (f *flight) noteLetter(r *rejection) {
	if f.letters == nil {
		f.letters = map[int]*rejection{}
	}
	f.letters[len(f.units)] = r
}

// noteAttempts says how often the handler was called for the next unit.
func (f *flight) noteAttempts(n int) {
	if f.attempts == nil {
		f.attempts = map[int]int{}
	}
	f.attempts[len(f.units)] = n
}

// addAgain adds a unit that failed before.
func (f *flight) addAgain(what failure) {
	if what.letter != nil {
		f.noteLetter(what.letter)
	}
	if what.attempts > 1 {
		f.noteAttempts(what.attempts)
	}
	f.add(what.m, what.outputs)
	if f.lane != nil && f.lane.routing != nil {
		f.slots = append(f.slots, what.slot)
	}
	f.tries = max(f.tries, what.tries)
}

func (f *flight) slotOf(unit int) uint16 {
	if len(f.slots) == 0 { // of a lane that shares nothing, or of none
		return noKey
	}
	return f.slots[unit]
}

// release gives back n of what keeps the flight from the pool.
func (f *flight) release(n int) {
	if f.open.Add(int32(-n)) > 0 {
		return
	}
	if f.listed {
		f.lane.unlist(f)
	}
	clear(f.units) // handlers' memory must not live as long as the pool
	clear(f.msgs)
	clear(f.letters)
	clear(f.attempts)
	f.units, f.msgs, f.p, f.lane, f.assignment, f.account = f.units[:0], f.msgs[:0], nil, nil, nil, nil
	f.tries, f.slots = 0, f.slots[:0]
	flights.Put(f)
}

// Acked implements producer.Reporter: these inputs are done (S1: this, and the dead letter's
// acknowledgement, are the only ways there).
func (f *flight) Acked(first, n int) {
	p := f.p
	f.account.reported.Add(int64(n)) // first: see sentinels.check
	consumer.DoneAll(f.msgs[first : first+n])
	p.traces.acked(f, first, n)
	f.took(first, n)
	letters := 0
	if len(f.letters) > 0 {
		for i := first; i < first+n; i++ {
			if f.letters[i] != nil {
				p.metrics.letter(f.msgs[i], f.letters[i])
				letters++
			}
		}
		p.counts.deadLetters.Add(int64(letters))
	}
	p.counts.acked.Add(int64(n - letters))
	f.release(n)
}

// took tells how long one unit of each telemetry.Every was on its way, of those with outputs.
func (f *flight) took(first, n int) {
	due := 0
	for i := (first + telemetry.Every - 1) / telemetry.Every * telemetry.Every; i < first+n; i += telemetry.Every {
		if len(f.units[i].Outputs) > 0 {
			due++
		}
	}
	if due > 0 {
		now := time.Now()
		f.p.counts.latency.Add(now, now.Sub(f.begun), due)
	}
}

// Failed implements producer.Reporter. It must not block: what may succeed later goes back to its
// lane, which keeps the order; about the rest the goroutine of failures decides.
func (f *flight) Failed(unit int, err *producer.Error) {
	what := failure{
		assignment: f.assignment, m: f.msgs[unit], outputs: f.units[unit].Outputs, letter: f.letters[unit], err: err, tries: f.tries,
		attempts: max(1, f.attempts[unit]), slot: f.slotOf(unit),
	}
	if f.lane != nil && actionFor(err) == actionRedeliver {
		f.lane.takeBack(what)
	} else {
		f.p.failures.push(what)
	}
	f.release(1)
}

// deliver hands the flight over. It blocks while the producer is full, until the assignment of the
// partition ends.
func (f *flight) deliver() {
	f.begun = time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		f.open.Store(int32(len(f.units)) + 1)
		if ctx := f.assignment.Context(); f.tries > 0 && ctx.Err() != nil {
			f.refused(ctx.Err(), nil) // what fails at once, each time, would come here again without a pause
			return
		}
		err := f.p.cfg.Producer.Deliver(f.assignment.Context(), f.units, f)
		if err == nil {
			f.release(1)
			return
		}
		e, _ := errors.AsType[*producer.Error](err)
		if e == nil || actionFor(e) != actionRedeliver || !sleep(f.assignment.Context(), pause) { // full, and configured to refuse
			f.refused(err, e)
			return
		}
	}
}

// refused decides after a Deliver that took nothing.
func (f *flight) refused(err error, e *producer.Error) {
	p, n := f.p, len(f.units)
	switch {
	case f.assignment.Context().Err() != nil, e != nil && actionFor(e) == actionGone: // the partition left: somebody else processes these inputs
		for i, m := range f.msgs {
			p.gone(m, max(1, f.attempts[i]), err)
		}
		f.release(n + 1)
	case errors.Is(err, producer.ErrClosed):
		p.producerClosed()
		f.giveUp()
	case e == nil || actionFor(e) == actionStop:
		p.stopBy(&DeliveryError{Err: err})
		f.giveUp()
	case n == 1:
		f.Failed(0, e)
		f.release(1)
	default:
		f.deliverSingly()
	}
}

// giveUp ends the inputs of a flight that nobody takes without an outcome: a drain must not wait
// for them.
func (f *flight) giveUp() {
	for _, m := range f.msgs {
		f.p.undone(m, consumer.ErrShutdown)
	}
	f.release(len(f.units) + 1)
}

// deliverSingly finds out which unit the producer refuses: its neighbours must not suffer for it.
func (f *flight) deliverSingly() {
	for i := range f.units {
		one := newFlight(f.p, f.lane, f.assignment)
		one.addAgain(failure{m: f.msgs[i], outputs: f.units[i].Outputs, letter: f.letters[i], attempts: f.attempts[i], tries: f.tries, slot: f.slotOf(i)})
		if f.lane != nil {
			f.lane.mu.Lock()
			f.lane.list(one)
			f.lane.mu.Unlock()
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
