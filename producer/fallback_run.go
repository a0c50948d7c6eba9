package producer

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// goDirect tells, while there is no stream, whether units must go to Kafka directly now, and why.
func (c *client) goDirect() (reason string, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.leaving || c.fall.broken != nil:
		return "", false
	case c.fall.mode == Forced:
		reason = "forced"
	case c.fall.mode == OnUnavailable && c.fall.breaker.open(time.Now(), c.cfg.Fallback.After):
		reason = "the sidecar is unavailable"
		if c.lastErr != nil {
			reason = c.lastErr.Error()
		}
	default:
		return "", false
	}
	if why, held := c.heldBack(); held {
		if why != c.fall.heldBack {
			c.fall.heldBack = why
			c.cfg.Logger.Info("not going to Kafka directly yet", "target", c.cfg.Target, "reason", why)
		}
		return "", false
	}
	c.fall.heldBack = ""
	return reason, true
}

// detour goes the direct way until the sidecar is to be used again, or Close gives up. There is no
// stream before and after it.
func (c *client) detour(reason string) {
	d, err := c.directWay()
	if err != nil {
		c.mu.Lock()
		c.fall.broken = invalidConfig(err)
		c.announce()
		c.mu.Unlock()
		c.cfg.Logger.Error("no direct way to Kafka: units wait for the sidecar", "error", err)
		return
	}
	w := &way{c: c, direct: d, drained: make(chan struct{})}
	c.begin(w, reason)
	w.tasks.Go(w.feed)
	reason = c.awaitReturn(w)

	c.mu.Lock()
	w.stopped = true
	c.writable.Broadcast()
	c.mu.Unlock()
	w.tasks.Wait()
	select {
	case <-w.drained: // everything that was produced is reported: nothing can overtake it (S7)
	case <-c.done.Done():
	}
	_ = d.Close() // fails what is left, if Close gave up
	c.finish(reason)
}

// begin makes the way the one that units go. The session with the sidecar is left behind: whatever
// happens to it, nothing of ours is in it any more.
func (c *client) begin(w *way, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session{id: c.session.id}
	c.lost()
	c.maxUnit, c.limit = 0, c.ownLimit()
	c.win.rebuild(0, 1, c.notHeld)
	c.fall.expiry, c.fall.eternal = 0, 0
	c.fall.way, c.fall.since = w, time.Now()
	c.fall.switches++
	c.announce()
	c.afterReports()
	c.cfg.Logger.Warn("going to Kafka directly, not through the sidecar", "target", c.cfg.Target, "mode", c.fall.mode.String(), "reason", reason)
}

func (c *client) finish(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spent := time.Since(c.fall.since)
	c.fall.way = nil
	c.fall.spent += spent
	c.fall.switches++
	c.fall.breaker = breaker{down: time.Now()}
	c.lost() // answers Releases; nothing is open
	c.announce()
	c.cfg.Logger.Info("going through the sidecar again", "target", c.cfg.Target, "mode", c.fall.mode.String(), "reason", reason, "directly_for", spent.String())
}

// awaitReturn waits until the direct way must end and returns why.
func (c *client) awaitReturn(w *way) string {
	every := min(max(c.cfg.Fallback.Return/5, 50*time.Millisecond), time.Second)
	t := time.NewTicker(every)
	defer t.Stop()
	var healthy time.Time
	for {
		c.mu.Lock()
		mode, stopped, changed := c.fall.mode, w.stopped, c.changed
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
func (c *client) probe() error {
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

// depart ends the session in order, for the direct way: what was sent is finished and reported
// first, nothing more is sent. A sidecar that does not manage in time is left when what it has is
// expired. The caller holds mu.
func (s *stream) depart() {
	if s.departing {
		return
	}
	c := s.c
	s.departing = true
	c.session.resumes = false
	c.control(goodbyeMessage())
	if open := c.win.unreported(); len(open) > 0 && open[0].First < c.fall.eternal {
		return // nothing of this may be left with it
	}
	t := time.AfterFunc(c.cfg.Fallback.UnitTTL+answerWithin, func() { s.fail(errSlowGoodbye) })
	context.AfterFunc(s.ctx, func() { t.Stop() })
}
