package sidecar

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// deliver hands the records of an admitted frame to kgo, in order. An error means that the session
// ends (or drains) and that the rest was dropped.
func (k *sink) deliver(f *frame) error {
	s := f.session
	defer f.unref(1) // the receiver's own
	defer s.intake.backlog.Store(0)
	defer f.waited()
	k.gate.Enter(&f.expires)
	k.stillOpen(s, len(f.units))
	if k.tracer != nil {
		f.trace()
	}
	f.attempted()
	defer k.pace.Came()
	for i := range f.units {
		u := &f.units[i]
		if u.failure == nil && s.lapse(f.expires) {
			s.expire(u)
		}
		if u.failure != nil || u.nrecs == 0 {
			if u.failure != nil {
				k.notDelivered(f, i)
				f.endSpansOf(i, u.failure.GetError())
			}
			s.finish(f, int32(i))
			f.drop(u.nrecs)
			continue
		}
		for r := range u.nrecs {
			left := int32(len(f.recs)) - u.firstR - r
			if err := k.produce(&f.recs[u.firstR+r], left); err != nil {
				f.dropped(left)
				f.drop(left)
				s.drop(f.units[i:])
				return err
			}
		}
	}
	return nil
}

// drop counts records that are not produced.
func (f *frame) drop(n int32) {
	if n > 0 {
		f.unref(n)
	}
}

// produce hands one record, of so many left in its frame, to kgo, and then waits if its queue is
// full. The error is the session's end, and means that the record was not handed over.
func (k *sink) produce(r *outRec, left int32) error {
	s := r.frame.session
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if !r.topic.Ready() {
		s.intake.backlog.Store(left)
		return k.produceFirst(r)
	}
	k.send(r)
	if q := s.intake.full.Load(); q != nil {
		s.intake.full.Store(nil)
		s.intake.backlog.Store(left - 1)
		begun := time.Now()
		k.pace.Came()     // what is full has to go
		_ = q.Wait(s.ctx) // this record is kgo's already; the next one sees the end
		s.app.Counts.Waited(flows.ForPartition, begun)
	}
	return nil
}

// produceFirst is for topics of which Kafka has told nothing yet.
func (k *sink) produceFirst(r *outRec) error {
	s := r.frame.session
	k.pace.Came() // those before it do not wait for it
	first, err := r.topic.Prepare(s.ctx)
	if s.ctx.Err() != nil {
		if first != nil {
			r.topic.Probed(nil)
		}
		return context.Cause(s.ctx)
	}
	if err != nil {
		k.resolve(r, err)
		return nil
	}
	k.send(r)
	s.intake.backlog.Add(-1)
	if first == nil {
		return nil
	}
	select {
	case <-first:
		k.pace.Now()
		return nil
	case <-s.ctx.Done():
		return nil // the record was handed over; the next one sees the end
	}
}

// resend tells why a record that its batch brought back must not be sent again: its session is
// over, or its time. Who sent it may send it another way.
func resend(r *outlet.Rec) error {
	f := recordOf(&r.Record).frame
	switch {
	case f == nil:
		return nil
	case f.session.ctx.Err() != nil:
		return context.Cause(f.session.ctx)
	case f.session.lapse(f.expires):
		return errExpired
	}
	f.sink.stillOpen(f.session, 1)
	return nil
}

// promised is the promise for every record. It is called in order for each partition, and must not
// block.
func (k *sink) promised(kr *kgo.Record, err error) {
	r := recordOf(kr)
	if q := r.queue; q != nil {
		q.Sub(r.size, 1)
	} else if err != nil {
		r.topic.NotPartitioned(err)
	} else if !r.topic.Ready() {
		r.topic.Known() // it was too large for the usual client, which would have told
	}
	k.resolve(r, err)
}

// resolve gives a record its fate, whether kgo ever had it or not.
func (k *sink) resolve(r *outRec, err error) {
	var failed *sidecarpb.Error
	if err != nil {
		failed = recordError(r, err)
		k.recordsFailed.Add(1)
		r.flow.Failed.Add(failed.GetCode(), 1)
	} else {
		r.flow.Ack(r.Headers)
		if r.Again() {
			r.flow.Retried.Add(1)
		}
	}
	if r.frame == nil {
		r.emit.resolve(failed)
		return
	}
	f := r.frame
	if f.spans != nil {
		endSpan(f.spans[r], r, failed)
	}
	u := &f.units[r.unit]
	switch {
	case err != nil:
		f.session.fail(u, unitFailure(r, failed))
	case r.output == 0 && r.unit%telemetry.Every == 0:
		r.flow.Took(f.received, f.timed)
	}
	if u.outputs == 1 || u.left.Add(-1) == 0 {
		f.session.finish(f, r.unit)
	}
	f.unref(1)
}

func unitFailure(r *outRec, err *sidecarpb.Error) *sidecarpb.UnitFailure {
	partition := int32(-1)
	if r.Explicit || r.queue != nil {
		partition = r.Partition
	}
	return &sidecarpb.UnitFailure{Output: uint32(r.output), Topic: r.topic.Name, Partition: partition, Error: err}
}

// recordError names what happened. kgo has no Kafka error for a partition that does not exist: it
// never asked Kafka.
func recordError(r *outRec, err error) *sidecarpb.Error {
	if r.Explicit && strings.Contains(err.Error(), "invalid record partitioning choice") {
		err = kerr.UnknownTopicOrPartition
	}
	if errors.Is(err, errExpired) {
		return expiredFailure().Error
	}
	return wire.FromKafka(err)
}

var errExpired = errors.New("expires_at has passed")
