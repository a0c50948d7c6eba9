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

// shareFetches has fetches bring a little of each partition, instead of much of a few. A poll takes
// what a fetch has of one partition before it comes to the next one. With CommitElsewhere inputs
// stay open until their transaction ends, and a partition has room for donemeta.MaxSpan of them:
// of megabytes, one or two partitions are full while the others have nothing in hand, and all wait
// for a short transaction. What the user's options say stays.
func (rd *reader) shareFetches(cl *kgo.Client) {
	if !rd.cfg.CommitElsewhere {
		return
	}
	n := rd.parts.count()
	if n == 0 || rd.shared.client == cl && rd.shared.parts == n {
		return
	}
	fetch := rd.cfg.fetchMaxBytes()
	if rd.shared.client != cl {
		rd.shared.users = cl.OptValue(kgo.FetchMaxPartitionBytes) != any(rd.cfg.fetchMaxPartitionBytes()) || cl.OptValue(kgo.FetchMaxBytes) != any(fetch)
	}
	rd.shared.client, rd.shared.parts = cl, n
	if !rd.shared.users {
		cl.UpdateFetchMaxBytes(fetch, max(rd.cfg.fetchMaxPartitionBytes()/int32(min(n, mostShares)), 1))
	}
}

// mostShares is among how many partitions at most: smaller pieces are not worth a fetch.
const mostShares = 8

// fetchShares is what shareFetches has set, and for how many partitions.
type fetchShares struct {
	client *kgo.Client
	parts  int
	users  bool // the user has set it
}
