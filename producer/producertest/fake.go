package producertest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/internal/assigned"
	"github.com/ackmark/ackmark/producer/internal/tally"
	rules "github.com/ackmark/ackmark/producer/internal/unit"
)

// FakeConfig configures [NewFake]. Zero fields mean the defaults named.
type FakeConfig struct {
	// Rule decides about each unit as it is taken, in the order of delivery. Default: every unit is
	// acknowledged. It may be changed by [Fake.SetRule].
	Rule func(Delivered) Decision
	// MaxRecords and MaxBytes bound what is taken and not reported. Default: not limited.
	MaxRecords int
	MaxBytes   int64
	// OnFull chooses what a full fake does. Default [producer.Block].
	OnFull producer.OnFull
	// CloseTimeout is how long Close waits for held units. Default: it does not wait.
	CloseTimeout time.Duration
}

// Decision is what the fake does with a unit.
type Decision struct {
	hold bool
	err  *producer.Error
}

// Ack acknowledges the unit; its outputs are "in Kafka".
func Ack() Decision { return Decision{} }

// Fail fails the unit; none of its outputs are in Kafka.
func Fail(err *producer.Error) Decision { return Decision{err: err} }

// Hold keeps the unit until the test decides about it with [Fake.Ack], [Fake.Fail] or
// [Fake.AckAll], in any order.
func Hold() Decision { return Decision{hold: true} }

// Delivered is a unit that the fake took. Its outputs are copies.
type Delivered struct {
	// ID counts the units of a fake from 0 in the order in which they were taken. Emitted records
	// are units without a source.
	ID int
	producer.Unit
}

// Fake is a [producer.Producer] for tests of handlers and pipelines: it keeps what it is given, and
// the test decides the fate of each unit. Reports come from one goroutine of its own, in the order
// of the decisions; it ends with Close.
type Fake struct {
	cfg     FakeConfig
	budget  *budget.Budget
	closing context.Context
	close   context.CancelCauseFunc
	wake    chan struct{}
	loop    sync.WaitGroup

	mu       sync.Mutex
	rule     func(Delivered) Decision
	taken    []Delivered
	changed  chan struct{} // closed and replaced when taken grows
	held     map[int]*fakeUnit
	log      map[string][]producer.Record // acknowledged outputs by topic
	reports  []fakeReport
	tally    tally.Tally
	assigned assigned.Table[producer.Membership, producer.Assignment]
	started  bool
	closed   bool
	down     error
}

type fakeUnit struct {
	id       int // in taken
	index    int // in its call
	r        producer.Reporter
	original []producer.Record // the caller's outputs, to see whether they were changed before the report
	cost     rules.Cost
	batch    *tally.Batch
}

type fakeReport struct {
	u   *fakeUnit
	ack []producer.Ack
	err *producer.Error
}

// NewFake returns a fake; it is closed by its owner, like every producer.
func NewFake(cfg FakeConfig) *Fake {
	if cfg.Rule == nil {
		cfg.Rule = func(Delivered) Decision { return Ack() }
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1 << 40
	}
	f := &Fake{cfg: cfg, rule: cfg.Rule, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		held: map[int]*fakeUnit{}, log: map[string][]producer.Record{}}
	f.budget = budget.New(budget.Config{Bytes: cfg.MaxBytes, Records: cfg.MaxRecords, LowPercent: 100})
	f.closing, f.close = context.WithCancelCause(context.Background())
	return f
}

// Deliver implements Producer.
func (f *Fake) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	total, bad := checkUnits(units)
	if bad != nil {
		return bad
	}
	if err := f.acquire(ctx, total); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		f.budget.Release(total.Bytes, total.Records)
		return closedError()
	}
	if len(units) == 0 {
		return nil
	}
	b := f.tally.Add(len(units))
	for i := range units {
		f.take(&units[i], i, r, b)
	}
	close(f.changed)
	f.changed = make(chan struct{})
	f.kick()
	return nil
}

// take records one unit and applies the rule. The caller holds mu.
func (f *Fake) take(u *producer.Unit, index int, r producer.Reporter, b *tally.Batch) {
	d := Delivered{ID: len(f.taken), Unit: producer.Unit{Source: u.Source, Outputs: cloneRecords(u.Outputs)}}
	f.taken = append(f.taken, d)
	c, _ := checkUnits([]producer.Unit{*u})
	fu := &fakeUnit{id: d.ID, index: index, r: r, original: u.Outputs, cost: c, batch: b}
	decision := Ack()
	switch epoch := u.Source.Epoch; {
	case f.assigned.WasReleased(epoch):
		decision = Fail((*producer.Error)(rules.Released(epoch)))
	case unfitUnit(u.Outputs) != nil:
		decision = Fail(unfitUnit(u.Outputs))
	case len(u.Outputs) > 0:
		decision = f.rule(d)
	}
	if decision.hold {
		f.held[d.ID] = fu
		return
	}
	f.decide(fu, decision.err)
}

// decide ends a unit: it is in the log or failed, and its report is queued. The caller holds mu.
func (f *Fake) decide(u *fakeUnit, err *producer.Error) {
	rep := fakeReport{u: u, err: err}
	if err == nil {
		for _, rec := range f.taken[u.id].Outputs {
			partition := int32(0)
			if rec.Partition != nil {
				partition = *rec.Partition
			}
			rep.ack = append(rep.ack, producer.Ack{Topic: rec.Topic, Partition: partition, Offset: int64(len(f.log[rec.Topic]))})
			f.log[rec.Topic] = append(f.log[rec.Topic], rec)
		}
	}
	f.reports = append(f.reports, rep)
}

// kick has the goroutine report what was decided. The caller holds mu.
func (f *Fake) kick() {
	if !f.started {
		f.started = true
		f.loop.Go(f.reportLoop)
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Fake) reportLoop() {
	for range f.wake {
		for {
			f.mu.Lock()
			list := f.reports
			f.reports = nil
			end := f.closed && f.tally.Pending() == 0
			f.mu.Unlock()
			if end {
				return
			}
			if len(list) == 0 {
				break
			}
			f.report(list)
		}
	}
}

// report coalesces neighbours of one call, as the real forms do.
func (f *Fake) report(list []fakeReport) {
	for i := 0; i < len(list); {
		n := 1
		head := list[i]
		f.mustBeUnchanged(head.u)
		if e, ok := head.u.r.(*fakeEmit); ok {
			e.report(head)
		} else if head.err != nil {
			head.u.r.Failed(head.u.index, head.err)
		} else {
			for i+n < len(list) && follows(list[i+n-1], list[i+n]) {
				f.mustBeUnchanged(list[i+n].u)
				n++
			}
			head.u.r.Acked(head.u.index, n)
		}
		f.settle(list[i : i+n])
		i += n
	}
}

// follows tells whether b is the next unit of a's call, acked like it. Units of one call share a
// batch and have consecutive ids.
func follows(a, b fakeReport) bool {
	return b.err == nil && b.u.batch == a.u.batch && b.u.id == a.u.id+1 && b.u.index == a.u.index+1
}

func (f *Fake) settle(list []fakeReport) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, rep := range list {
		f.budget.Release(rep.u.cost.Bytes, rep.u.cost.Records)
		f.tally.Remove(rep.u.batch, 1)
	}
}

// mustBeUnchanged catches a caller that changes a unit which the producer still owns. A real
// producer would send the changed bytes.
func (f *Fake) mustBeUnchanged(u *fakeUnit) {
	f.mu.Lock()
	want := f.taken[u.id].Outputs
	f.mu.Unlock()
	for i, rec := range u.original {
		if i >= len(want) || rec.Topic != want[i].Topic || !bytes.Equal(rec.Key, want[i].Key) || !bytes.Equal(rec.Value, want[i].Value) {
			panic(fmt.Sprintf("producertest.Fake: output %d of unit %d was changed before its fate was reported: the producer owns it until then", i, u.id))
		}
	}
}

func (f *Fake) acquire(ctx context.Context, c rules.Cost) error {
	if f.closing.Err() != nil {
		return closedError()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if f.budget.TryAcquire(c.Bytes, c.Records) {
		return nil
	}
	if f.cfg.OnFull == producer.Refuse {
		return (*producer.Error)(rules.Full("the fake is full"))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.closing, func() { cancel(producer.ErrClosed) })()
	err := f.budget.Acquire(ctx, c.Bytes, c.Records)
	if err != nil && f.closing.Err() != nil {
		return closedError()
	}
	return err
}

func cloneRecords(list []producer.Record) []producer.Record {
	out := slices.Clone(list)
	for i := range out {
		out[i].Key, out[i].Value = bytes.Clone(out[i].Key), bytes.Clone(out[i].Value)
		out[i].Headers = slices.Clone(out[i].Headers)
	}
	return out
}

func closedError() *producer.Error { return (*producer.Error)(rules.Closed()) }

// checkUnits validates all outputs, before any is taken, and weighs them.
func checkUnits(units []producer.Unit) (c rules.Cost, err *producer.Error) {
	for i := range units {
		for j := range units[i].Outputs {
			rec := (*rules.Record)(&units[i].Outputs[j])
			if bad := rec.Invalid(); bad != nil {
				return rules.Cost{}, (*producer.Error)(bad.In(i, j))
			}
			c.Bytes += rec.Bytes()
		}
		c.Records += len(units[i].Outputs)
	}
	return c, nil
}

// unfitUnit names the error of a unit that no way takes.
func unfitUnit(outs []producer.Record) *producer.Error {
	var s rules.Sum
	for i := range outs {
		if err := s.Add((*rules.Record)(&outs[i])); err != nil {
			return (*producer.Error)(err)
		}
	}
	return (*producer.Error)(s.TooLarge())
}
