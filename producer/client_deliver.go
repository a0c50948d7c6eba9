package producer

import (
	"context"
	"fmt"
	"time"

	"github.com/ackmark/ackmark/producer/internal/unit"
)

// Deliver implements Producer.
func (c *client) Deliver(ctx context.Context, units []Unit, r Reporter) error {
	return c.counts.follow(units, r, func(r Reporter) error { return c.deliver(ctx, units, r) })
}

func (c *client) deliver(ctx context.Context, units []Unit, r Reporter) error {
	total, bad := checkUnits(units)
	if bad != nil {
		return bad
	}
	total.Bytes += int64(len(units))*unitOverhead + int64(total.Records)*outputOverhead
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.admit(ctx, total); err != nil {
		return err
	}
	if len(units) > 0 {
		if c.books.take(units, c.reports.begin(len(units), r)) {
			c.reports.notify()
		}
		c.wakeWriter()
	}
	return nil
}

// What the encoding adds, for weighing a call before it is encoded; the books are kept with true
// sizes.
const (
	unitOverhead   = 24
	outputOverhead = 16
)

// admit waits until a call of this weight may be taken. It is called with mu held, gives it up
// while it waits, and returns with it held.
func (c *client) admit(ctx context.Context, want unit.Cost) error {
	if err := c.ready(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	line := &c.books.line
	if line.isEmpty() && c.books.fits(want) {
		return nil
	}
	if c.cfg.OnFull == Refuse {
		taken, limit := c.books.queue.Taken(), c.books.limit
		return (*Error)(unit.Full(fmt.Sprintf("%d bytes and %d records are on their way (limits %d and %d)",
			taken.Bytes, taken.Records, limit.Bytes, limit.Records)))
	}
	w, begun := line.join(), time.Now()
	defer func() {
		c.counts.wait(c.books.short(), begun)
		line.leave(w)
		c.serveLine()
	}()
	for {
		c.mu.Unlock()
		select {
		case <-w.turn:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if err := c.ready(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if line.isFirst(w) && c.books.fits(want) {
			return nil
		}
		w.waitAgain()
	}
}

// clientEmit is the Reporter of one emitted record.
type clientEmit struct {
	topic string
	fn    func(Ack, error)
}

// Acked implements Reporter. The sidecar's reports are ranges of units: they do not say where a
// record is.
func (e *clientEmit) Acked(int, int) { e.fn(Ack{Topic: e.topic, Partition: -1, Offset: -1}, nil) }

// Failed implements Reporter.
func (e *clientEmit) Failed(_ int, err *Error) { e.fn(Ack{}, err) }

// EmitAsync implements Producer.
func (c *client) EmitAsync(rec Record, fn func(Ack, error)) {
	if err := c.emit(context.Background(), rec, fn); err != nil {
		fn(Ack{}, err)
	}
}

// Emit implements Producer.
func (c *client) Emit(ctx context.Context, rec Record) (Ack, error) {
	return awaitEmit(ctx, func(fn func(Ack, error)) error {
		return traceEmit(c.tracer, ctx, rec, fn, func(rec Record, fn func(Ack, error)) error { return c.emit(ctx, rec, fn) })
	})
}

// emit delivers a unit of one output without a source. The unit is encoded before Deliver returns,
// so it may live on the stack.
func (c *client) emit(ctx context.Context, rec Record, fn func(Ack, error)) error {
	outputs := [1]Record{rec}
	units := [1]Unit{{Outputs: outputs[:]}}
	return c.Deliver(ctx, units[:], &clientEmit{rec.Topic, fn})
}

// awaitEmit emits and waits for the record's fate.
func awaitEmit(ctx context.Context, emit func(fn func(Ack, error)) error) (Ack, error) {
	type outcome struct {
		ack Ack
		err error
	}
	done := make(chan outcome, 1)
	if err := emit(func(a Ack, err error) { done <- outcome{a, err} }); err != nil {
		return Ack{}, err
	}
	select {
	case o := <-done:
		return o.ack, o.err
	case <-ctx.Done():
		return Ack{}, context.Cause(ctx)
	}
}
