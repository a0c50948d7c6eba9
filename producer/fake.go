package producer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/budget"
)

// FakeConfig configures [NewFake]. Zero fields mean the defaults named.
type FakeConfig struct {
	// Fate decides about each unit as it is taken, in the order of delivery. Default: every unit is
	// acknowledged. It may be changed by [Fake.SetFate].
	Fate func(Delivered) Fate
	// MaxRecords and MaxBytes bound what is taken and not reported. Default: not limited.
	MaxRecords int
	MaxBytes   int64
	// OnFull chooses what a full fake does. Default [Block].
	OnFull OnFull
	// CloseTimeout is how long Close waits for held units. Default: it does not wait.
	CloseTimeout time.Duration
}

// Fate is what the fake does with a unit.
type Fate struct {
	hold bool
	err  *Error
}

// FateAck acknowledges the unit; its outputs are "in Kafka".
func FateAck() Fate { return Fate{} }

// FateFail fails the unit; none of its outputs are in Kafka.
func FateFail(err *Error) Fate { return Fate{err: err} }

// FateHold keeps the unit until the test decides about it with [Fake.Ack], [Fake.Fail] or
// [Fake.AckAll], in any order.
func FateHold() Fate { return Fate{hold: true} }

// Delivered is a unit that the fake took. Its outputs are copies.
type Delivered struct {
	// ID counts the units of a fake from 0 in the order in which they were taken. Emitted records
	// are units without a source.
	ID int
	Unit
}

// Fake is a [Producer] for tests of handlers and pipelines: it keeps what it is given, and the test
// decides the fate of each unit. Reports come from one goroutine of its own, in the order of the
// decisions; it ends with Close.
type Fake struct {
	cfg     FakeConfig
	budget  *budget.Budget
	closing context.Context
	close   context.CancelCauseFunc
	wake    chan struct{}
	loop    sync.WaitGroup

	mu      sync.Mutex
	fate    func(Delivered) Fate
	taken   []Delivered
	changed chan struct{} // closed and replaced when taken grows
	held    map[int]*fakeUnit
	log     map[string][]Record // acknowledged outputs by topic
	reports []fakeReport
	tally   tally
	epochs  epochs
	started bool
	closed  bool
	down    error
}

type fakeUnit struct {
	id       int // in taken
	index    int // in its call
	r        Reporter
	original []Record // the caller's outputs, to see whether they were changed before the report
	cost     cost
	batch    *batch
}

type fakeReport struct {
	u   *fakeUnit
	ack []Ack
	err *Error
}

// NewFake returns a fake; it is closed by its owner, like every producer.
func NewFake(cfg FakeConfig) *Fake {
	if cfg.Fate == nil {
		cfg.Fate = func(Delivered) Fate { return FateAck() }
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 1 << 40
	}
	f := &Fake{cfg: cfg, fate: cfg.Fate, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		held: map[int]*fakeUnit{}, log: map[string][]Record{}}
	f.budget = budget.New(budget.Config{Bytes: cfg.MaxBytes, Records: cfg.MaxRecords, LowPercent: 100})
	f.closing, f.close = context.WithCancelCause(context.Background())
	return f
}

// Deliver implements Producer.
func (f *Fake) Deliver(ctx context.Context, units []Unit, r Reporter) error {
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
		f.budget.Release(total.bytes, total.records)
		return errClosed()
	}
	if len(units) == 0 {
		return nil
	}
	b := f.tally.add(len(units))
	for i := range units {
		f.take(&units[i], i, r, b)
	}
	close(f.changed)
	f.changed = make(chan struct{})
	f.kick()
	return nil
}

// take records one unit and applies its fate. The caller holds mu.
func (f *Fake) take(u *Unit, index int, r Reporter, b *batch) {
	d := Delivered{ID: len(f.taken), Unit: Unit{Source: u.Source, Outputs: cloneRecords(u.Outputs)}}
	f.taken = append(f.taken, d)
	c, _ := checkUnits([]Unit{*u})
	fu := &fakeUnit{id: d.ID, index: index, r: r, original: u.Outputs, cost: c, batch: b}
	fate := FateAck()
	switch epoch := u.Source.Epoch; {
	case f.epochs.releasedAlready(epoch):
		fate = FateFail(errReleased(epoch))
	case unfitUnit(u.Outputs) != nil:
		fate = FateFail(unfitUnit(u.Outputs))
	case len(u.Outputs) > 0:
		fate = f.fate(d)
	}
	if fate.hold {
		f.held[d.ID] = fu
		return
	}
	f.decide(fu, fate.err)
}

// decide ends a unit: it is in the log or failed, and its report is queued. The caller holds mu.
func (f *Fake) decide(u *fakeUnit, err *Error) {
	rep := fakeReport{u: u, err: err}
	if err == nil {
		for _, rec := range f.taken[u.id].Outputs {
			partition := int32(0)
			if rec.Partition != nil {
				partition = *rec.Partition
			}
			rep.ack = append(rep.ack, Ack{rec.Topic, partition, int64(len(f.log[rec.Topic]))})
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
			end := f.closed && f.tally.pending == 0
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
		f.budget.Release(rep.u.cost.bytes, rep.u.cost.records)
		f.tally.remove(rep.u.batch, 1)
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
			panic(fmt.Sprintf("producer.Fake: output %d of unit %d was changed before its fate was reported: the producer owns it until then", i, u.id))
		}
	}
}

func (f *Fake) acquire(ctx context.Context, c cost) error {
	if f.closing.Err() != nil {
		return errClosed()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if f.budget.TryAcquire(c.bytes, c.records) {
		return nil
	}
	if f.cfg.OnFull == Refuse {
		return errFull("the fake is full")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.closing, func() { cancel(ErrClosed) })()
	err := f.budget.Acquire(ctx, c.bytes, c.records)
	if err != nil && f.closing.Err() != nil {
		return errClosed()
	}
	return err
}

func cloneRecords(list []Record) []Record {
	out := slices.Clone(list)
	for i := range out {
		out[i].Key, out[i].Value = bytes.Clone(out[i].Key), bytes.Clone(out[i].Value)
		out[i].Headers = slices.Clone(out[i].Headers)
	}
	return out
}
