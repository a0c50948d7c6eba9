package producer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/producer/internal/tally"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// call is one Deliver: what is needed to turn promises into coalesced reports.
//
// The header itself is not pooled (one allocation per call): a promise that set its bit still looks
// at dirty while reportLoop may have reported the last unit already, so a reused header would be
// pushed for somebody else's units. states and slots are pooled: no promise touches them after it
// set its bit.
type call struct {
	d      *direct
	r      Reporter
	batch  *tally.Batch
	states *[]unitState
	slots  slots
	done   []atomic.Uint64 // bit per unit: acked and not reported yet; set by promises, taken by reportLoop
	inline [4]atomic.Uint64
	dirty  atomic.Bool // in d.dirty; cleared before the bits are taken, so a bit set after that pushes again

	failing atomic.Bool      // errs is not empty
	errs    map[int32]*Error // first failure per unit; under d.dirtyMu
	fails   []unitFailure    // under d.dirtyMu
	left    int              // units not reported; reportLoop only

	spans map[output]trace.Span // of records that carry a sampled context; written before the first is produced
}

type unitState struct {
	bytes   int64
	records int32
	pending int32 // outputs without a fate; atomic, after Deliver has set it
}

type unitFailure struct {
	unit int
	err  *Error
}

// slot is one record on its way. Its promise is a method value made once per slot, so that
// producing allocates nothing.
type slot struct {
	rec    outlet.Rec // the first field: from its address the outlet finds the record
	call   *call
	unit   int32
	output int32
}

// Deliver implements Producer.
func (d *direct) Deliver(ctx context.Context, units []Unit, r Reporter) error {
	return d.counts.follow(units, r, func(r Reporter) error { return d.deliver(ctx, units, r) })
}

func (d *direct) deliver(ctx context.Context, units []Unit, r Reporter) error {
	out, err := d.start()
	if err != nil {
		return err
	}
	total, bad := checkUnits(units)
	if bad != nil {
		return bad
	}
	if err := d.acquire(ctx, total); err != nil {
		return err
	}
	return d.take(ctx, out, units, r, total)
}

// take takes the units of a call, for which there is space.
func (d *direct) take(ctx context.Context, out *outlet.Outlet, units []Unit, r Reporter, total unit.Cost) error {
	if len(units) == 0 {
		return nil
	}
	b, ok := d.enter(len(units))
	if !ok {
		d.budget.Release(total.Bytes, total.Records)
		return errClosed()
	}
	defer d.leave()
	c := d.newCall(r, b, len(units))
	c.slots = takeSlots(total.Records)
	c.produce(ctx, out, units)
	d.lingers.produced(out, total.Records)
	return nil
}

func (d *direct) newCall(r Reporter, b *tally.Batch, n int) *call {
	c := &call{d: d, r: r, batch: b, left: n, states: takeStates(n)}
	c.done = c.inline[:]
	if words := (n + 63) / 64; words > len(c.done) {
		c.done = make([]atomic.Uint64, words)
	}
	return c
}

// produce hands all outputs to the outlet. It does not block, but for the first records of topics:
// their limits are asked for, all at the same time, until the context ends.
func (c *call) produce(ctx context.Context, out *outlet.Outlet, units []Unit) {
	refused := c.prepare(units)
	if c.d.tracer != nil {
		c.trace(c.d.tracer, units, refused)
	}
	now := time.Now() // one clock read per call, not per record
	next := 0
	var topic *outlet.Topic // of the record before: most calls are for one
	name := ""
	for i := range units {
		if refused != nil && refused[i] != nil {
			continue
		}
		outs := units[i].Outputs
		for j := range outs {
			s := c.slots.at(next)
			next++
			s.call, s.unit, s.output = c, int32(i), int32(j)
			if outs[j].Topic != name {
				name = outs[j].Topic
				topic = out.Topic(name)
				if !topic.Asked() {
					askAll(out, units[i:], i, refused)
					c.d.awaitAsked(ctx, topic)
				}
			}
			s.fill(&outs[j], topic, now)
			// From here on the unit may be reported, and its memory be the caller's again: nothing
			// of it is read below.
			out.Produce(&s.rec)
		}
	}
}

// askAll asks for all topics of the units, of which the first has this index in the call.
func askAll(out *outlet.Outlet, units []Unit, first int, refused map[int]*Error) {
	for i := range units {
		if refused[first+i] != nil {
			continue
		}
		for j := range units[i].Outputs {
			out.Topic(units[i].Outputs[j].Topic).Ask()
		}
	}
}

// awaitAsked waits until what a topic was asked for is known, or is waited for no more: then its
// records are handed over all the same.
func (d *direct) awaitAsked(ctx context.Context, topic *outlet.Topic) {
	if topic.Asked() {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.closing, cancel)()
	topic.Prepare(ctx)
}

// prepare sets the countdowns and ends the units that have nothing to produce: those without
// outputs and those of released epochs. It runs before the first Produce, while c is Deliver's
// alone: the last bit set gives c away.
func (c *call) prepare(units []Unit) (refused map[int]*Error) {
	refused = c.d.refusedUnits(units)
	refused = refuseUnfit(units, refused)
	empty := false
	for i := range units {
		outs := units[i].Outputs
		st := unitState{records: int32(len(outs)), pending: int32(len(outs))}
		for j := range outs {
			st.bytes += (*unit.Record)(&outs[j]).Bytes()
		}
		(*c.states)[i] = st
		if refused[i] == nil && len(outs) == 0 {
			c.done[i/64].Or(1 << (i % 64))
			empty = true
		}
	}
	for i, err := range refused {
		c.fails = append(c.fails, unitFailure{i, err})
	}
	if empty || len(refused) > 0 {
		c.push()
	}
	return refused
}

// refusedUnits finds the units of released epochs. Units of one epoch come in runs: one look-up per
// run.
func (d *direct) refusedUnits(units []Unit) (refused map[int]*Error) {
	last, gone := uint64(0), false
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range units {
		if epoch := units[i].Source.Epoch; epoch != last {
			last, gone = epoch, d.assigned.WasReleased(epoch)
		}
		if gone {
			if refused == nil {
				refused = map[int]*Error{}
			}
			refused[i] = errReleased(last)
		}
	}
	return refused
}

// refuseUnfit adds the units that no way takes.
func refuseUnfit(units []Unit, refused map[int]*Error) map[int]*Error {
	for i := range units {
		if err := unfitUnit(units[i].Outputs); err != nil && refused[i] == nil {
			if refused == nil {
				refused = map[int]*Error{}
			}
			refused[i] = err
		}
	}
	return refused
}

func (s *slot) fill(r *Record, to *outlet.Topic, now time.Time) {
	s.rec.Key, s.rec.Record.Value = r.Key, r.Value
	if len(r.Headers) > 0 { // finish leaves none
		s.rec.Headers = r.Headers
	}
	if s.rec.To != to {
		s.rec.To, s.rec.Topic = to, r.Topic
	}
	s.rec.Timestamp = r.Timestamp
	if r.Timestamp.IsZero() {
		s.rec.Timestamp = now
	}
	s.rec.Explicit, s.rec.Partition = r.Partition != nil, -1
	if r.Partition != nil {
		s.rec.Partition = *r.Partition
	}
}

// finish is the promise.
func (s *slot) finish(_ *kgo.Record, err error) {
	c, unit := s.call, s.unit
	if err != nil {
		c.fail(s, err)
	}
	if c.spans != nil {
		s.endSpan(err)
	}
	s.rec.Key, s.rec.Record.Value = nil, nil // a pooled slot must not keep the user's memory alive
	if s.rec.Headers != nil {
		s.rec.Headers = nil
	}
	if atomic.AddInt32(&(*c.states)[unit].pending, -1) > 0 {
		return
	}
	// All outputs have a fate. A failure is reported only now, too: until here the unit's memory is
	// read.
	if c.failing.Load() && c.failedUnit(unit) {
		return
	}
	c.done[unit/64].Or(1 << (unit % 64))
	c.push()
}

// failedUnit reports a unit of which an output failed, if one did.
func (c *call) failedUnit(unit int32) bool {
	c.d.dirtyMu.Lock()
	failure := c.errs[unit]
	if failure != nil {
		c.fails = append(c.fails, unitFailure{int(unit), failure})
	}
	c.d.dirtyMu.Unlock()
	if failure != nil {
		c.push()
	}
	return failure != nil
}

func (c *call) fail(s *slot, err error) {
	e := kafkaError(err, s.rec.Topic, s.rec.Partition)
	e.Output = int(s.output)
	c.d.dirtyMu.Lock()
	defer c.d.dirtyMu.Unlock()
	if c.errs == nil {
		c.errs = map[int32]*Error{}
	}
	if c.errs[s.unit] == nil {
		c.errs[s.unit] = e
	}
	c.failing.Store(true)
}

var statePool sync.Pool // of *[]unitState

func takeStates(n int) *[]unitState {
	if p, ok := statePool.Get().(*[]unitState); ok && cap(*p) >= n {
		*p = (*p)[:n]
		return p
	}
	s := make([]unitState, n, max(n, 16))
	return &s
}
