package producertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/internal/assigned"
	"github.com/ackmark/ackmark/producer/internal/tally"
)

// fakeEmit is the Reporter of one emitted record; the fake gives it the whole report, for the Ack.
type fakeEmit struct{ fn func(producer.Ack, error) }

func (e *fakeEmit) report(r fakeReport) {
	if r.err != nil {
		e.fn(producer.Ack{}, r.err)
		return
	}
	e.fn(r.ack[0], nil)
}

// Acked implements Reporter.
func (e *fakeEmit) Acked(int, int) { panic("producertest.Fake: an emit is reported by report") }

// Failed implements Reporter.
func (e *fakeEmit) Failed(int, *producer.Error) {
	panic("producertest.Fake: an emit is reported by report")
}

// Emit implements Producer.
func (f *Fake) Emit(ctx context.Context, rec producer.Record) (producer.Ack, error) {
	var ack producer.Ack
	var fate error
	done := make(chan struct{})
	e := &fakeEmit{func(a producer.Ack, err error) { ack, fate = a, err; close(done) }}
	if err := f.Deliver(ctx, []producer.Unit{{Outputs: []producer.Record{rec}}}, e); err != nil {
		return producer.Ack{}, err
	}
	select {
	case <-done:
		return ack, fate
	case <-ctx.Done():
		return producer.Ack{}, context.Cause(ctx)
	}
}

// EmitAsync implements Producer.
func (f *Fake) EmitAsync(rec producer.Record, fn func(producer.Ack, error)) {
	if err := f.Deliver(context.Background(), []producer.Unit{{Outputs: []producer.Record{rec}}}, &fakeEmit{fn}); err != nil {
		fn(producer.Ack{}, err)
	}
}

// SetRule replaces the rule for the units that come; held ones stay held.
func (f *Fake) SetRule(rule func(Delivered) Decision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rule = rule
}

// Units returns everything that was taken so far, in order.
func (f *Fake) Units() []Delivered {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.taken)
}

// Records returns the acknowledged outputs of a topic in the order in which they were written.
func (f *Fake) Records(topic string) []producer.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log[topic])
}

// Held returns the ids of the held units in order.
func (f *Fake) Held() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heldLocked()
}

func (f *Fake) heldLocked() []int {
	ids := make([]int, 0, len(f.held))
	for id := range f.held {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// WaitUnits waits until n units were taken in all, or the context ends.
func (f *Fake) WaitUnits(ctx context.Context, n int) error {
	for {
		f.mu.Lock()
		have, changed := len(f.taken), f.changed
		f.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("producertest.Fake: %d of %d units came: %w", have, n, context.Cause(ctx))
		}
	}
}

// Ack acknowledges held units, in the order given. An id that is not held panics: the test is
// wrong.
func (f *Fake) Ack(ids ...int) { f.end(ids, nil) }

// Fail fails held units, in the order given.
func (f *Fake) Fail(err *producer.Error, ids ...int) { f.end(ids, err) }

// AckAll acknowledges everything held, in the order of delivery.
func (f *Fake) AckAll() { f.Ack(f.Held()...) }

func (f *Fake) end(ids []int, err *producer.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endLocked(ids, err)
}

func (f *Fake) endLocked(ids []int, err *producer.Error) {
	for _, id := range ids {
		u := f.held[id]
		if u == nil {
			panic(fmt.Sprintf("producertest.Fake: unit %d is not held", id))
		}
		delete(f.held, id)
		f.decide(u, err)
	}
	f.kick()
}

// SetDown makes Check return err; nil: it is well again.
func (f *Fake) SetDown(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// Assigned returns the live assignments of a group in the order of their epochs, and its latest
// membership: one of them, if several consumers of the process are in the group.
func (f *Fake) Assigned(group string) (m producer.Membership, live []producer.Assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.assigned.Each(func(of producer.Membership, list []producer.Assignment) {
		if of.Group == group {
			m, live = of, append(live, list...)
		}
	})
	slices.SortFunc(live, func(a, b producer.Assignment) int { return cmp.Compare(a.Epoch, b.Epoch) })
	return m, live
}

// Assign implements Producer.
func (f *Fake) Assign(_ context.Context, m producer.Membership, added []producer.Assignment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return closedError()
	}
	of := assigned.Member{Group: m.Group, Consumer: m.Consumer}
	f.assigned.Assign(of, m, m.MemberID == "", added, func(a producer.Assignment) uint64 { return a.Epoch })
	return nil
}

// Release implements Producer: it waits until the units of these epochs, held ones too, have their
// fate.
func (f *Fake) Release(ctx context.Context, list []uint64) error {
	f.mu.Lock()
	gone := f.assigned.Release(list)
	f.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	return f.Flush(ctx)
}

// Flush implements Producer.
func (f *Fake) Flush(ctx context.Context) error {
	f.mu.Lock()
	open := f.tally.Seal()
	f.mu.Unlock()
	return tally.Await(ctx, open)
}

// Check implements Producer.
func (f *Fake) Check(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return closedError()
	}
	return f.down
}

// Close implements Producer: held units fail with ErrClosed.
func (f *Fake) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	f.mu.Unlock()
	f.close(producer.ErrClosed)

	ctx, cancel := context.WithTimeout(context.Background(), f.cfg.CloseTimeout)
	defer cancel()
	_ = f.Flush(ctx)

	f.mu.Lock()
	dropped := f.heldLocked()
	f.endLocked(dropped, closedError())
	f.mu.Unlock()
	_ = f.Flush(context.Background())
	f.mu.Lock()
	f.kick() // the goroutine sees closed and nothing pending
	f.mu.Unlock()
	f.loop.Wait()
	if len(dropped) > 0 {
		return fmt.Errorf("%w with %d units not acknowledged", producer.ErrClosed, len(dropped))
	}
	return nil
}
