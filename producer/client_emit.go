package producer

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// sidecarEmit is the Reporter of one emitted record.
type sidecarEmit struct {
	topic string
	fn    func(Ack, error)
}

// Acked implements Reporter. The sidecar's reports are ranges of units: they do not say where a
// record is.
func (e *sidecarEmit) Acked(int, int) { e.fn(Ack{Topic: e.topic, Partition: -1, Offset: -1}, nil) }

// Failed implements Reporter.
func (e *sidecarEmit) Failed(_ int, err *Error) { e.fn(Ack{}, err) }

// EmitAsync implements Producer.
func (c *client) EmitAsync(rec Record, fn func(Ack, error)) {
	if err := c.emit(context.Background(), rec, fn); err != nil {
		fn(Ack{}, err)
	}
}

// Emit implements Producer.
func (c *client) Emit(ctx context.Context, rec Record) (Ack, error) {
	type fate struct {
		ack Ack
		err error
	}
	done := make(chan fate, 1)
	if err := c.emit(ctx, rec, func(a Ack, err error) { done <- fate{a, err} }); err != nil {
		return Ack{}, err
	}
	select {
	case f := <-done:
		return f.ack, f.err
	case <-ctx.Done():
		return Ack{}, context.Cause(ctx)
	}
}

// emit delivers a unit of one output without a source. The unit is encoded before Deliver returns,
// so it may live on the stack.
func (c *client) emit(ctx context.Context, rec Record, fn func(Ack, error)) error {
	outputs := [1]Record{rec}
	units := [1]Unit{{Outputs: outputs[:]}}
	return c.Deliver(ctx, units[:], &sidecarEmit{rec.Topic, fn})
}

// checkTimeout bounds Check.
const checkTimeout = 10 * time.Second

// Check implements Producer: the sidecar must be connected, not stopping, and reach Kafka.
func (c *client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s, w, err := c.connected(ctx)
	if err != nil {
		return err
	}
	if w != nil {
		return w.direct.Check(ctx)
	}
	st, err := sidecarpb.NewSidecarClient(s.conn).Status(ctx, &sidecarpb.StatusRequest{})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil // a sidecar without it is as good as its stream
	case err != nil:
		return fmt.Errorf("producer: the sidecar at %s is connected, but does not answer: %w; see its log", c.cfg.Target, err)
	case st.GetKafkaError() != "":
		return fmt.Errorf("producer: the sidecar at %s cannot reach Kafka: %s; check its brokers and credentials", c.cfg.Target, st.GetKafkaError())
	case st.GetState() == "draining":
		return fmt.Errorf("producer: the sidecar at %s is stopping: wait for its successor", c.cfg.Target)
	}
	return nil
}

// connected returns the stream, or the direct way, or why there is neither: of an attempt that
// ended after the call came.
func (c *client) connected(ctx context.Context) (*stream, *way, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	attempts := c.attempts
	select {
	case c.retry <- struct{}{}:
	default:
	}
	for {
		if err := c.ready(); err != nil {
			return nil, nil, err
		}
		if c.stream != nil || c.fall.way != nil {
			return c.stream, c.fall.way, nil
		}
		if c.attempts > attempts {
			return nil, nil, c.lastErr
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil && c.stream == nil && c.fall.way == nil {
			return nil, nil, fmt.Errorf("producer: not connected to the sidecar at %s yet: %w", c.cfg.Target, context.Cause(ctx))
		}
	}
}

// clientVersion is the build version, for the sidecar's status page and for version mismatches.
var clientVersion = sync.OnceValue(func() string {
	const module = "github.com/ackmark/ackmark"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Path == module {
			return info.Main.Version
		}
		for _, dep := range info.Deps {
			if dep.Path == module {
				return dep.Version
			}
		}
	}
	return "unknown"
})
