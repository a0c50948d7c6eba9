package producer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/txn"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/tally"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// Seen is how its transactions go, and which were aborted lately, for the page of a pipeline
// without a sidecar. Nil: they have not begun.
func (t *transactional) Seen(now time.Time) (*podstate.Transactions, []podstate.Incident) {
	if lane := t.telling.Load(); lane != nil {
		return lane.Seen(now), t.events.All()
	}
	return nil, nil
}

// Deliver implements Producer.
func (t *transactional) Deliver(ctx context.Context, units []Unit, r Reporter) error {
	return t.counts.follow(units, r, func(r Reporter) error { return t.deliver(ctx, units, r) })
}

func (t *transactional) deliver(ctx context.Context, units []Unit, r Reporter) error {
	if slices.ContainsFunc(units, func(u Unit) bool { return u.Source.Epoch != 0 }) {
		if err := t.mayHaveInputs(); err != nil {
			return err
		}
	}
	lane, err := t.begin()
	if err != nil {
		return err
	}
	total, bad := checkUnits(units)
	if bad != nil {
		return bad
	}
	if err := t.acquire(ctx, total); err != nil {
		return err
	}
	if len(units) == 0 {
		return nil
	}
	b, ok := t.enter(len(units))
	if !ok {
		t.budget.Release(total.Bytes, total.Records)
		return errClosed()
	}
	defer t.leave()
	c := &txnCall{call: t.newCall(r, b, len(units)), units: units, inputs: make([]txn.Unit, len(units))}
	for _, run := range c.enter(t.claims) {
		lane.Push(run)
	}
	return nil
}

// txnCall is one Deliver as a batch of a lane. It reads the units' memory until each is reported.
type txnCall struct {
	*call
	units  []Unit
	inputs []txn.Unit // the lane looks at them after the report, when the units are the caller's again
}

// enter enters the units in their assignments, and returns those that were, as runs. The others
// have their fates. No unit may be reported before all are looked at: then its memory is the
// caller's again.
func (c *txnCall) enter(claims *txn.Claims) (runs []txn.Run) {
	unfit := refuseUnfit(c.units, nil)
	decided := false
	for i := range c.units {
		u := &c.units[i]
		st := unitState{records: int32(len(u.Outputs))} //nolint:gosec // at most MaxUnitOutputs, or the unit is refused
		for j := range u.Outputs {
			st.bytes += (*unit.Record)(&u.Outputs[j]).Bytes()
		}
		(*c.states)[i] = st
		err := unfit[i]
		if err == nil && u.Source.Epoch != 0 {
			var e txn.Entry
			c.inputs[i].Index = u.Source.Index
			if c.inputs[i].Claim, e = claims.Enter(u.Source.Epoch, u.Source.Index, u.Source.Offset, st.bytes); e != txn.Entered {
				if err = refusedEntry(e, u.Source.Epoch); err == nil {
					c.done[i/64].Or(1 << (i % 64))
					decided = true
					continue
				}
			}
		}
		if err != nil {
			c.fails = append(c.fails, unitFailure{i, err})
			decided = true
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].To == i {
			runs[n-1].To++
		} else {
			runs = append(runs, txn.Run{Batch: c, From: i, To: i + 1})
		}
	}
	if decided {
		c.push()
	}
	return runs
}

// refusedEntry is the fate of a unit that was not entered. Nil: its input is committed already.
func refusedEntry(e txn.Entry, epoch uint64) *Error {
	switch e {
	case txn.Known:
		return nil
	case txn.Released:
		return errReleased(epoch)
	case txn.Unheld:
		return errUnknownAssignment(epoch)
	}
	return &Error{Code: CodeDelivery, Partition: -1,
		Message: "the input's index contradicts those of its assignment, or is more than 1,048,576 above its ack mark"}
}

// Unit implements txn.Batch.
func (c *txnCall) Unit(i int) txn.Unit { return c.inputs[i] }

// Produce implements txn.Batch.
func (c *txnCall) Produce(i int, emit func(*kgo.Record)) {
	outs := c.units[i].Outputs
	recs := make([]kgo.Record, len(outs))
	for j := range outs {
		emit(fillRecord(&recs[j], &outs[j]))
	}
}

func fillRecord(to *kgo.Record, r *Record) *kgo.Record {
	to.Topic, to.Key, to.Value, to.Headers, to.Timestamp, to.Partition = r.Topic, r.Key, r.Value, r.Headers, r.Timestamp, -1
	if r.Partition != nil {
		to.Partition = *r.Partition
	}
	return to
}

// Committed implements txn.Batch.
func (c *txnCall) Committed(from, to int) {
	for i := from; i < to; i++ {
		c.done[i/64].Or(1 << (i % 64))
	}
	c.push()
}

// Failed implements txn.Batch.
func (c *txnCall) Failed(i int, err error) { c.failUnit(i, fateOf(err)) }

// Dropped implements txn.Batch.
func (c *txnCall) Dropped(from, to int) {
	for i := from; i < to; i++ {
		c.failUnit(i, errReleased(c.units[i].Source.Epoch))
	}
}

func (c *txnCall) failUnit(i int, e *Error) {
	c.d.dirtyMu.Lock()
	c.fails = append(c.fails, unitFailure{i, e})
	c.d.dirtyMu.Unlock()
	c.push()
}

// fateOf turns what a lane says of a unit into its fate.
func fateOf(err error) *Error {
	if re, ok := errors.AsType[*txn.RecordError](err); ok {
		e := kafkaError(re.Err, re.Topic, re.Partition)
		e.Output = re.Output
		return e
	}
	_, ofOffset := errors.AsType[*txn.OffsetError](err)
	switch {
	case errors.Is(err, txn.ErrClosed):
		return errClosed()
	case errors.Is(err, txn.ErrTaken):
		return &Error{Code: CodeTransactionTaken, Partition: -1, Err: err, Message: err.Error() + "; " + wire.CodeOf(CodeTransactionTaken).Remedy}
	case errors.Is(err, txn.ErrMemberGone):
		return &Error{Code: CodeMemberFenced, Partition: -1, Err: err, Message: err.Error()}
	case ofOffset, errors.Is(err, txn.ErrNotOpen):
		return &Error{Code: CodeDelivery, Partition: -1, Message: err.Error()} // its cause would look like the record's
	}
	e := kafkaError(err, "", -1)
	e.Message = err.Error()
	return e
}

// EmitAsync implements Producer.
func (t *transactional) EmitAsync(rec Record, fn func(Ack, error)) {
	if err := t.emit(context.Background(), &rec, fn); err != nil {
		fn(Ack{}, err)
	}
}

// Emit implements Producer.
func (t *transactional) Emit(ctx context.Context, rec Record) (Ack, error) {
	return awaitEmit(ctx, func(fn func(Ack, error)) error { return t.emit(ctx, &rec, fn) })
}

// emit queues one record; fn is called if and only if the error is nil.
func (t *transactional) emit(ctx context.Context, rec *Record, fn func(Ack, error)) error {
	return t.counts.emit(rec.Topic, fn, func(fn func(Ack, error)) error { return t.emitCounted(ctx, rec, fn) })
}

func (t *transactional) emitCounted(ctx context.Context, rec *Record, fn func(Ack, error)) error {
	lane, err := t.begin()
	if err != nil {
		return err
	}
	if bad := (*unit.Record)(rec).Invalid(); bad != nil {
		return (*Error)(bad)
	}
	if bad := unfitUnit([]Record{*rec}); bad != nil {
		return bad
	}
	cost := unit.Cost{Bytes: (*unit.Record)(rec).Bytes(), Records: 1}
	if err := t.acquire(ctx, cost); err != nil {
		return err
	}
	b, ok := t.enter(1)
	if !ok {
		t.budget.Release(cost.Bytes, cost.Records)
		return errClosed()
	}
	defer t.leave()
	lane.Push(txn.Run{Batch: &txnEmission{t: t, rec: *rec, fn: fn, batch: b, cost: cost}, From: 0, To: 1})
	return nil
}

// txnEmission is one emitted record as a batch of a lane: it becomes visible with the transaction
// that it is in.
type txnEmission struct {
	t     *transactional
	rec   Record
	sent  *kgo.Record
	fn    func(Ack, error)
	batch *tally.Batch
	cost  unit.Cost
}

// Unit implements txn.Batch.
func (*txnEmission) Unit(int) txn.Unit { return txn.Unit{} }

// Produce implements txn.Batch.
func (e *txnEmission) Produce(_ int, emit func(*kgo.Record)) {
	e.sent = fillRecord(new(kgo.Record), &e.rec)
	emit(e.sent)
}

// Committed implements txn.Batch.
func (e *txnEmission) Committed(int, int) {
	e.end(Ack{Topic: e.sent.Topic, Partition: e.sent.Partition, Offset: e.sent.Offset}, nil)
}

// Failed implements txn.Batch.
func (e *txnEmission) Failed(_ int, err error) { e.end(Ack{}, fateOf(err)) }

// Dropped implements txn.Batch. A record without an input has no assignment that could be given up.
func (e *txnEmission) Dropped(int, int) { e.end(Ack{}, errClosed()) }

func (e *txnEmission) end(ack Ack, failure *Error) {
	s := settled{Cost: e.cost, units: 1}
	if failure == nil {
		e.fn(ack, nil)
	} else {
		if failure.Code == CodeClosed {
			s.dropped = 1
		}
		e.fn(Ack{}, failure)
	}
	e.t.settle(e.batch, s)
}
