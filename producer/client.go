package producer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/tracing"
	"github.com/ackmark/ackmark/producer/internal/tally"
)

// client is the producer over a sidecar: what the user calls. What it shares with its goroutines
// is in shared.
//
// Goroutines, all started by the first use and awaited by Close: the connector's run connects, and
// keeps connecting for ever (connector.go); while a stream lives, its writer, reader and watchdog
// (stream.go); reports.loop alone calls Reporters, so that a slow one stops neither the stream nor
// a Deliver.
type client struct {
	*shared
	tracer  *tracing.Tracer
	counts  *counts
	done    context.Context // ends when Close gives up on what is left
	end     context.CancelFunc
	tasks   sync.WaitGroup // the connector's run, reports.loop, and callbacks
	stopped chan struct{}  // closed when run has returned
}

func newClient(cfg DialConfig) *client {
	c := &client{shared: newShared(cfg), tracer: tracing.New(cfg.TracerProvider), stopped: make(chan struct{})}
	if c.counts = newCounts(cfg.MeterProvider, telemetry.BySidecar, cfg.App, c.tellPath, pathRows...); c.counts != nil {
		c.cfg.Fallback.Direct.kafka = c.counts.kafka
	}
	c.done, c.end = context.WithCancel(context.Background())
	return c
}

// ready starts the client on first use and tells why it cannot take anything. The caller holds mu.
func (c *client) ready() error {
	first, err := c.life.use()
	if err != nil {
		return err
	}
	if first {
		c.fall.usage.since = time.Now()
		conn := &connector{shared: c.shared, done: c.done, tasks: &c.tasks}
		c.tasks.Go(func() {
			defer close(c.stopped)
			conn.run()
		})
		c.tasks.Go(c.reports.loop)
	}
	return nil
}

// OnFenced implements [Fencer].
func (c *client) OnFenced(fn func(*Error)) (forget func()) { return c.onFenced.add(fn) }

// OnRefused implements [Refuser].
func (c *client) OnRefused(fn func(*Error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch refusal := c.life.refusal; {
	case c.life.isClosed():
	case refusal != nil:
		c.tasks.Go(func() { fn(refusal) })
	default:
		c.onRefused = append(c.onRefused, fn)
	}
}

// Flush implements Producer.
func (c *client) Flush(ctx context.Context) error {
	c.mu.Lock()
	open := c.reports.tally.Seal()
	c.mu.Unlock()
	return tally.Await(ctx, open)
}

// goodbyeTimeout is how long Close waits for the sidecar to end the stream after Goodbye.
const goodbyeTimeout = time.Second

// Close implements Producer.
func (c *client) Close() error {
	c.mu.Lock()
	if c.life.isClosed() {
		c.mu.Unlock()
		return nil
	}
	began := c.life.close()
	c.serveLine() // who waits learns that it is over
	c.mu.Unlock()
	defer storm.End(c.cfg.Logger)
	defer c.counts.end()
	defer c.end()
	if !began {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.CloseTimeout)
	defer cancel()
	_ = c.Flush(ctx) // what is left over is counted below
	c.goodbye()
	c.end()
	<-c.stopped // run has failed the rest

	_ = c.Flush(context.Background())
	c.reports.end()
	c.tasks.Wait()
	if dropped := c.reports.dropped; dropped > 0 {
		return fmt.Errorf("%w with %d units not acknowledged after CloseTimeout (%v): their inputs stay uncommitted",
			ErrClosed, dropped, c.cfg.CloseTimeout)
	}
	return nil
}

// goodbye ends the session cleanly, if there is a stream: no unit is sent any more, the sidecar
// finishes what it has and ends the stream.
func (c *client) goodbye() {
	c.mu.Lock()
	s := c.link.stream
	c.life.leave()
	if s != nil {
		c.control(s, goodbyeMessage())
	}
	c.mu.Unlock()
	if s == nil {
		return
	}
	t := time.NewTimer(min(goodbyeTimeout, c.cfg.CloseTimeout))
	defer t.Stop()
	select {
	case <-s.ctx.Done():
	case <-t.C:
	}
}
