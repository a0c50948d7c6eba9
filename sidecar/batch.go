package sidecar

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/txn"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// batch is a frame of a session whose offsets are committed with its outputs. The lane looks at the
// inputs after the last unit is decided, when the frame is another's.
type batch struct {
	frame  *frame
	inputs []txn.Unit
}

// claim hands the units of an admitted frame to the transactions, in order. Nothing is waited for:
// the credit bounds what is there.
func (k *sink) claim(f *frame) error {
	s := f.session
	defer f.unref(1) // the receiver's own
	defer f.waited()
	k.stillOpen(s, len(f.units))
	if k.tracer != nil {
		f.trace()
	}
	f.attempted()
	b := &batch{frame: f, inputs: make([]txn.Unit, len(f.units))}
	c := s.claims
	c.learn(f)
	if s.ctx.Err() != nil { // meanwhile: the lane would ask for what was not learned, and all would wait
		n := int32(len(f.recs))
		f.dropped(n)
		f.drop(n)
		s.drop(f.units)
		return context.Cause(s.ctx)
	}
	s.follow(f)
	var runs []txn.Run
	for i := range f.units {
		in, goesIn := c.enter(f, i)
		if !goesIn {
			if failed := f.units[i].failure; failed != nil {
				k.notDelivered(f, i)
				f.endSpansOf(i, failed.GetError())
			}
			s.finish(f, int32(i))
			f.drop(f.units[i].nrecs)
			continue
		}
		b.inputs[i] = in
		if n := len(runs); n > 0 && runs[n-1].To == i {
			runs[n-1].To++
		} else {
			runs = append(runs, txn.Run{Batch: b, From: i, To: i + 1})
		}
	}
	for _, r := range runs {
		c.push(r, b.records(r.From, r.To))
	}
	return nil
}

// learn has the transactions know the topics of a frame's records, and fails the units of which one
// must not be written to. Who writes to one that does not exist waits for that answer, and nobody
// else: neither for it, nor for another one when this one is too old.
func (c *claims) learn(f *frame) {
	var refused map[string]error // kept here: one may be asked for, for longer than the lane knows of another
	for i := range f.recs {
		r := &f.recs[i]
		if c.topics[r.Topic] {
			continue
		}
		err, known := refused[r.Topic]
		if !known {
			var told bool
			if told, err = c.in.lane.Learn(f.session.ctx, r.Topic); !told {
				return // nor will one answer for the others
			}
		}
		if err != nil {
			if refused == nil {
				refused = map[string]error{}
			}
			refused[r.Topic] = err
			u := &f.units[r.unit]
			if !u.source || c.Wants(u.src.Epoch, u.src.Index, u.src.Offset) {
				f.session.fail(u, unitFailure(r, recordError(r, err)))
			}
			continue
		}
		if len(c.topics) >= maxLearned {
			clear(c.topics)
		}
		c.topics[r.Topic] = true
	}
}

// maxLearned bounds the names of topics that a session is known to write to.
const maxLearned = 4096

// push hands a run over.
func (c *claims) push(r txn.Run, records int64) {
	c.in.records.Add(records)
	enough := c.hand.comes(records, c.mayOpen())
	c.in.lane.Push(r)
	if enough {
		c.in.lane.Flush()
	}
}

// mayOpen is about how many records its assignments can have in hand: the inputs that a done-set
// has room for, with an output each.
func (c *claims) mayOpen() int64 { return int64(c.Count()) * donemeta.MaxSpan }

// pop counts what is decided.
func (c *claims) pop(records int64) {
	c.in.records.Add(-records)
	c.hand.goes(records)
}

// records is what units count for, as in the credit.
func (b *batch) records(from, to int) (n int64) {
	for i := from; i < to; i++ {
		n += b.frame.Cost(i).Records
	}
	return n
}

var (
	_ txn.Ending    = (*batch)(nil)
	_ txn.Following = (*batch)(nil)
)

// Closes implements txn.Following.
func (b *batch) Closes() { b.frame.session.claims.hand.closes() }

// Over implements txn.Ending.
func (b *batch) Over() bool { return b.frame.session.ctx.Err() != nil }

// Unit implements txn.Batch.
func (b *batch) Unit(i int) txn.Unit { return b.inputs[i] }

// Produce implements txn.Batch.
func (b *batch) Produce(i int, emit func(*kgo.Record)) {
	u := &b.frame.units[i]
	for j := range u.nrecs {
		r := &b.frame.recs[u.firstR+j]
		if !r.Explicit {
			r.Partition = -1 // also when it had one before
		}
		r.Sent()
		emit(&r.Record)
	}
}

// Committed implements txn.Batch.
func (b *batch) Committed(from, to int) {
	f := b.frame
	s := f.session
	s.claims.pop(b.records(from, to))
	var records int32
	for i := from; i < to; i++ {
		u := &f.units[i]
		records += u.nrecs
		for j := range u.nrecs {
			r := &f.recs[u.firstR+j]
			r.flow.Ack(r.Headers)
			if r.Again() {
				r.flow.Retried.Add(1)
			}
			if f.spans != nil {
				endSpan(f.spans[r], r, nil)
			}
			if j == 0 && i%telemetry.Every == 0 {
				r.flow.Took(f.received, f.timed)
			}
		}
	}
	s.finishAll(f, from, to)
	f.drop(records)
}

// Failed implements txn.Batch. Where there are no transactions any more the unit has no fate: the
// sidecar ends, and the client sends it to the next one.
func (b *batch) Failed(i int, err error) {
	f := b.frame
	if !ofUnit(err) {
		f.session.claims.pop(b.records(i, i+1))
		eachFlow(f.recordsOf(i), func(flow *flows.Flow, n uint64) { flow.Dropped.Add(n) })
		f.drop(f.units[i].nrecs)
		return
	}
	b.fail(i, b.failureOf(i, err))
}

// Dropped implements txn.Batch.
func (b *batch) Dropped(from, to int) {
	for i := from; i < to; i++ {
		b.fail(i, givenUp(b.frame.units[i].src.Epoch))
	}
}

func (b *batch) fail(i int, failed *sidecarpb.UnitFailure) {
	f := b.frame
	u := &f.units[i]
	s := f.session
	s.claims.pop(b.records(i, i+1))
	s.fail(u, failed)
	f.sink.notDelivered(f, i)
	f.endSpansOf(i, failed.GetError())
	n := u.nrecs // of a unit without records the frame may be another's when it is reported
	s.finish(f, int32(i))
	f.drop(n)
}

// failureOf says why a unit failed.
func (b *batch) failureOf(i int, err error) *sidecarpb.UnitFailure {
	f, u := b.frame, &b.frame.units[i]
	if re, ok := errors.AsType[*txn.RecordError](err); ok && int32(re.Output) < u.nrecs {
		r := &f.recs[u.firstR+int32(re.Output)]
		out := unitFailure(r, recordError(r, re.Err))
		out.Partition = re.Partition
		return out
	}
	code := wire.CodeDelivery
	if errors.Is(err, txn.ErrMemberGone) {
		code = wire.CodeMemberFenced
	}
	return failure(0, "", -1, code, err.Error())
}
