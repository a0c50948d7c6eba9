package consumer

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// With Config.CommitElsewhere the offsets of inputs are committed with their outputs, by what
// delivers them: an input is done when they are. The consumer only follows, and sees to it that
// who commits knows the newest membership.

// follow notes that the group has the marks of these partitions: an input is done when its offset
// is committed. Where nothing is pending, it tells what was passed behind the last input.
func (c *committer) follow(parts []*partition) {
	for _, p := range parts {
		p.mu.Lock()
		at, moved := p.core.Due(true)
		if moved {
			p.core.Committed(at)
		}
		crossed := moved && p.core.Pending() == 0
		p.mu.Unlock()
		if crossed && c.cfg.Hooks.Crossed != nil {
			c.cfg.Hooks.Crossed(p.assignment, at.Offset)
		}
	}
	c.troubles.committed(nil)
}

// waitForBeat waits for the next heartbeat, and tells whether ctx goes on. With CommitElsewhere the
// epoch is told as soon as the client knows it: offsets of the one before are refused, and with
// them a transaction of all that have theirs in it.
func (g *group) waitForBeat(ctx context.Context, d time.Duration) bool {
	if !g.cfg.CommitElsewhere {
		return waitFor(ctx, d)
	}
	for ; d > epochEvery; d -= epochEvery {
		if !waitFor(ctx, epochEvery) {
			return false
		}
		g.tellEpoch(ctx, g.brokers.client.Load())
	}
	return waitFor(ctx, d)
}

// epochEvery is how often the client is asked for its epoch.
const epochEvery = 50 * time.Millisecond

// announceNewer tells who commits of a generation that is newer than what was told last. In a
// revoke the broker is a generation ahead of the last assignment, and refuses offsets of the one
// before: what has to be committed before the partitions go would wait for ever. hookMu is held,
// or a shutdown holds it.
func (g *group) announceNewer(ctx context.Context, cl *kgo.Client) {
	g.announcing.Lock() // what is told last is the newest
	defer g.announcing.Unlock()
	m := g.current.Load()
	if id, generation := cl.GroupMetadata(); !g.cfg.CommitElsewhere || m == nil || m.MemberID != id || m.Generation == generation {
		return
	}
	g.refreshMembership(cl)
	g.callAssigned(ctx, nil)
}
