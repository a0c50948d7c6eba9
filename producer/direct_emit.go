package producer

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/producer/internal/tally"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// emission is one emitted record on its way. Its promise calls the user back itself: there is
// nothing to coalesce.
type emission struct {
	slot
	d     *direct
	fn    func(Ack, error)
	bytes int64
	batch *tally.Batch
}

var emissions sync.Pool

func takeEmission() *emission {
	if e, ok := emissions.Get().(*emission); ok {
		return e
	}
	e := new(emission)
	e.rec.Promise = e.finish
	return e
}

// EmitAsync implements Producer.
func (d *direct) EmitAsync(rec Record, fn func(Ack, error)) {
	if err := d.emit(context.Background(), &rec, fn); err != nil {
		fn(Ack{}, err)
	}
}

// Emit implements Producer.
func (d *direct) Emit(ctx context.Context, rec Record) (Ack, error) {
	return awaitEmit(ctx, func(fn func(Ack, error)) error {
		return traceEmit(d.tracer, ctx, rec, fn, func(rec Record, fn func(Ack, error)) error { return d.emit(ctx, &rec, fn) })
	})
}

// emit queues one record; fn is called if and only if the error is nil.
func (d *direct) emit(ctx context.Context, rec *Record, fn func(Ack, error)) error {
	return d.counts.emit(rec.Topic, fn, func(fn func(Ack, error)) error { return d.emitCounted(ctx, rec, fn) })
}

func (d *direct) emitCounted(ctx context.Context, rec *Record, fn func(Ack, error)) error {
	out, err := d.start()
	if err != nil {
		return err
	}
	if bad := (*unit.Record)(rec).Invalid(); bad != nil {
		return (*Error)(bad)
	}
	if rec.Headers != nil || !rec.Timestamp.IsZero() {
		if bad := unfitUnit([]Record{*rec}); bad != nil {
			return bad
		}
	}
	bytes := (*unit.Record)(rec).Bytes()
	if err := d.acquire(ctx, unit.Cost{Bytes: bytes, Records: 1}); err != nil {
		return err
	}
	b, ok := d.enter(1)
	if !ok {
		d.budget.Release(bytes, 1)
		return errClosed()
	}
	defer d.leave()
	e := takeEmission()
	e.d, e.fn, e.bytes, e.batch = d, fn, bytes, b
	topic := out.Topic(rec.Topic)
	d.awaitAsked(ctx, topic)
	e.fill(rec, topic, time.Now())
	out.Produce(&e.rec)
	return nil
}

// finish is the promise.
func (e *emission) finish(_ *kgo.Record, err error) {
	ack := Ack{Topic: e.rec.Topic, Partition: e.rec.Partition, Offset: e.rec.Offset}
	t := settled{Cost: unit.Cost{Bytes: e.bytes, Records: 1}, units: 1}
	d, b, fn := e.d, e.batch, e.fn
	var fate error
	if err != nil {
		failure := kafkaError(err, ack.Topic, ack.Partition)
		if failure.Code == CodeClosed {
			t.dropped = 1
		}
		ack, fate = Ack{}, failure
	}
	e.rec.Key, e.rec.Record.Value, e.rec.Headers, e.fn = nil, nil, nil, nil
	emissions.Put(e)
	fn(ack, fate)
	d.settle(b, t)
}
