package producer

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/producer/internal/breaker"
)

// goDirect tells, while there is no stream, whether units must go to Kafka directly now, and why.
func (c *connector) goDirect() (reason string, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.life.isLeaving() || c.fall.broken != nil:
		return "", false
	case c.fall.mode == Forced:
		reason = "forced"
	case c.fall.mode == OnUnavailable && c.fall.breaker.Open(time.Now(), c.cfg.Fallback.After):
		reason = "the sidecar is unavailable"
		if c.link.lastErr != nil {
			reason = c.link.lastErr.Error()
		}
	default:
		return "", false
	}
	if !c.session.gone { // or what it has will never be written
		if why, held := c.fall.sent.heldBack(c.books.queue.Unreported(), c.cfg.boot()); held {
			if why != c.fall.heldBack {
				c.fall.heldBack = why
				c.cfg.Logger.Info("not going to Kafka directly yet", "target", c.cfg.Target, "reason", why)
			}
			return "", false
		}
	}
	c.fall.heldBack = ""
	return reason, true
}

// takeDetour goes the direct way until the sidecar is to be used again, or Close gives up. There is
// no stream before and after it.
func (c *connector) takeDetour(reason string) {
	direct, err := c.cfg.ownDirect()
	if err != nil {
		c.mu.Lock()
		c.fall.broken = invalidConfig(err)
		c.link.announce()
		c.mu.Unlock()
		c.cfg.Logger.Error("no direct way to Kafka: units wait for the sidecar", "error", err)
		return
	}
	d := &detour{shared: c.shared, direct: direct, drained: make(chan struct{})}
	c.enter(d, reason)
	d.tasks.Go(d.feed)
	back := c.awaitReturn(d)
	d.stop()
	select {
	case <-d.drained: // everything that was produced is reported: nothing can overtake it (S7)
	case <-c.done.Done():
	}
	_ = direct.Close() // fails what is left, if Close gave up
	c.leaveDetour(reason, back)
}

// enter makes the detour the way that units go. The session with the sidecar is left behind:
// whatever happens to it, nothing of ours is in it any more.
func (c *connector) enter(d *detour, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session{id: c.session.id}
	c.lost()
	c.books.noSidecar()
	c.books.queue.Rebuild(0, 1, c.books.notLive)
	c.fall.sent = sentExpiry{}
	c.fall.detour = d
	c.fall.usage.begin(time.Now())
	c.link.announce()
	c.afterReports()
	c.cfg.Logger.Warn("going to Kafka directly, not through the sidecar", "target", c.cfg.Target, "mode", c.fall.mode.String(), "reason", reason)
}

// leaveDetour goes back to the sidecar, which was left for the reason why.
func (c *connector) leaveDetour(why, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.fall.detour = nil
	spent := c.fall.usage.end(now)
	c.fall.detoured(spent, why)
	c.fall.breaker = breaker.Breaker{}
	c.fall.breaker.Lost(now, 0)
	c.lost() // answers Releases; nothing is open
	c.link.announce()
	c.cfg.Logger.Info("going through the sidecar again", "target", c.cfg.Target, "mode", c.fall.mode.String(), "reason", reason, "directly_for", spent.String())
}

// awaitReturn waits until the direct way must end and returns why.
func (c *connector) awaitReturn(d *detour) string {
	every := min(max(c.cfg.Fallback.Return/5, 50*time.Millisecond), time.Second)
	t := time.NewTicker(every)
	defer t.Stop()
	var healthy time.Time
	for {
		c.mu.Lock()
		mode, stopped, changed := c.fall.mode, d.stopped, c.link.changed
		c.mu.Unlock()
		switch {
		case c.done.Err() != nil:
			return "closed"
		case mode == Off:
			return "fallback is off"
		case stopped:
			return "the direct way ended"
		}
		select {
		case <-c.done.Done():
		case <-changed:
		case <-t.C:
			if mode != OnUnavailable || c.probe() != nil {
				healthy = time.Time{}
				continue
			}
			if healthy.IsZero() {
				healthy = time.Now()
			}
			if time.Since(healthy) >= c.cfg.Fallback.Return {
				return fmt.Sprintf("the sidecar has been healthy for %v", c.cfg.Fallback.Return)
			}
		}
	}
}

// probeTimeout bounds a look at the sidecar's health.
const probeTimeout = 2 * time.Second

// probe asks the sidecar whether it is ready, without a session: one that is begun and broken again
// would be taken for a death.
func (c *connector) probe() error {
	d := &dialLog{cfg: c.cfg}
	conn, err := grpc.NewClient("passthrough:///"+d.authority(), d.options()...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(c.done, probeTimeout)
	defer cancel()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil // it lives
	case err != nil:
		return err
	case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		return fmt.Errorf("the sidecar is %v", answer.GetStatus())
	}
	return nil
}
