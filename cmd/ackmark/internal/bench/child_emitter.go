package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/producer"
)

// runEmitter is one of many processes that produce: as fast as it may, or paced. It connects and
// emits one record first, and waits for the others.
func (c *child) runEmitter(ctx context.Context) error {
	opts, err := c.clientOptions()
	if err != nil {
		return err
	}
	p := c.producer(opts)
	if _, err := p.Emit(ctx, c.emitted(0)); err != nil {
		return fmt.Errorf("the first record: %w", err)
	}
	c.tell(event{Kind: eventReady})
	select {
	case <-c.started:
	case <-ctx.Done():
		return p.Close()
	}
	before, began := c.meter.usage(), time.Now()
	late := make([]atomic.Int64, c.spec.Inputs) // from when it was due to its acknowledgement
	var failed atomic.Pointer[error]
	for i := range c.spec.Inputs {
		due := time.Since(began)
		if c.spec.Rate > 0 {
			due = time.Duration(i) * time.Second / time.Duration(c.spec.Rate)
			time.Sleep(due - time.Since(began))
		}
		p.EmitAsync(c.emitted(i), func(_ producer.Ack, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
			late[i].Store(int64(time.Since(began) - due))
		})
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	done := event{Kind: eventDone, Wall: time.Since(began), Usage: c.meter.usage().Since(before)}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("emitting: %w", *err)
	}
	if c.spec.Rate > 0 {
		for i := range late {
			done.Late = append(done.Late, time.Duration(late[i].Load()).Round(time.Microsecond))
		}
	}
	c.tell(done)
	<-ctx.Done() // what closing costs is not measured
	return p.Close()
}

// apart is how many keys lie between what two emitters emit at the same time.
const apart = 7

func (c *child) emitted(i int) producer.Record {
	return producer.Record{Topic: c.spec.Output, Key: key(c.spec.Emitter*apart + i), Value: make([]byte, c.spec.Size)}
}
