package producer

import (
	"context"
)

// Assign implements Producer. Without a stream it is only remembered: every new stream begins with
// what is held then.
func (c *client) Assign(ctx context.Context, m Membership, added []Assignment) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.committing {
		if err := checkTopicIDs(added); err != nil {
			return err
		}
	}
	fresh := c.books.assigned.announce(m, added)
	if s := c.link.stream; s != nil {
		c.control(s, c.assignTo(s, m, fresh)...)
	}
	return nil
}

// Release implements Producer. Units of these epochs that were not sent are dropped at once; for
// those that were, the sidecar is asked, if need be on the stream that goes on with the session.
// From its return on nothing of these epochs is sent: they are not live any more, and only live
// ones get from a broken stream to the next.
func (c *client) Release(ctx context.Context, list []uint64) error {
	c.mu.Lock()
	gone := c.books.assigned.Release(list)
	if len(gone) == 0 {
		c.mu.Unlock()
		return nil
	}
	answered := c.release(release{gone, c.committing && ctx.Err() != nil})
	c.afterReports()
	c.mu.Unlock()
	if answered != nil {
		select {
		case <-answered: // or the session is lost
		case <-ctx.Done():
			c.giveUp(gone)
			return context.Cause(ctx)
		}
	}
	// What a revoke commits next must include everything that is known by now.
	return c.reports.awaitKnown(ctx)
}

// release drops the units of epochs that are not live any more, and returns what is closed when
// those of them ended that were sent; nil: there are none. The caller holds mu.
func (c *client) release(of release) (answered chan struct{}) {
	s, queue := c.link.stream, c.books.queue
	if s == nil && c.fall.detour == nil && !c.session.resumes {
		queue.FailWhere(0, c.books.notLive)
		return nil
	}
	queue.Rebuild(queue.Unsent(), queue.Unsent(), c.books.notLive)
	r := c.releases.ask(of)
	if s != nil {
		c.control(s, releaseOf(r))
	}
	if s != nil || queue.HoldsSent(of.epochs) {
		return r.answered
	}
	return nil
}

// giveUp has the sidecar commit nothing any more of epochs whose Release was not waited for: their
// inputs are read again, and would be done twice. At-least-once they may be.
func (c *client) giveUp(epochs []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.committing {
		c.release(release{epochs, true})
	}
}

// Inherit implements [Heir].
func (c *client) Inherit(ctx context.Context, group, instanceID string) error {
	c.mu.Lock()
	if err := c.ready(); err != nil {
		c.mu.Unlock()
		return err
	}
	q := c.inherits.ask(staticMember{group, instanceID})
	if s := c.link.stream; s != nil {
		c.control(s, c.inherits.send(q, s.welcome)...)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.inherits.forget(q)
	}()
	for {
		c.mu.Lock()
		changed := c.link.changed
		// Where nobody listens there is no sidecar, and its wills have ended with it. Who goes
		// directly does not wait for it either.
		nobody := c.link.stream == nil && (c.session.gone || c.fall.detour != nil || c.life.refusal != nil)
		c.mu.Unlock()
		if nobody {
			return nil
		}
		select {
		case <-q.answered:
			return nil
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.done.Done():
			return errClosed()
		}
	}
}
