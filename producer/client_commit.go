package producer

import (
	"fmt"
	"slices"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureExactlyOnce is the ability to have an input's offset committed with its outputs.
const featureExactlyOnce = "exactly-once"

// remedyNoTransactions is for a sidecar that commits nothing.
const remedyNoTransactions = "start the sidecar with a transactional id (ackmark sidecar --transactional-id orders-0), or take pipeline.AtLeastOnce"

const remedyNoFallback = "exactly-once has no fallback, since only the sidecar commits: leave it Off"

// CommitUnits implements [Committer]: the sidecar commits.
func (c *client) CommitUnits() error {
	if err := c.mayCommitUnits(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.committing && (c.session.begun || c.books.assigned.Any()) {
		return invalidConfig(&ConfigError{Config: "pipeline.Config", Field: "Producer", Value: "in use at-least-once",
			Remedy: "a producer is for one mode: give the exactly-once pipeline one of its own"})
	}
	c.committing = true
	return c.ready()
}

// Committing implements [Committer].
func (c *client) Committing() bool { return c.commits() }

// mayCommitUnits tells why the client cannot be exactly-once: its units could go another way.
func (c *client) mayCommitUnits() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong := configerr.For(dialConfig)
	wrong.If(c.fall.mode != Off, "Fallback.Mode", c.fall.mode, remedyNoFallback)
	if err := wrong.Err(); err != nil {
		return invalidConfig(err)
	}
	return nil
}

// Crossed implements [Committer]. Without a stream nobody is told: the next input's commit says as
// much.
func (c *client) Crossed(epoch uint64, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.link.stream; s != nil && c.books.assigned.IsLive(epoch) {
		c.control(s, &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Crossed{
			Crossed: &sidecarpb.Crossed{Epoch: epoch, Offset: offset},
		}})
	}
}

// commits tells whether this client is exactly-once.
func (c *shared) commits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.committing
}

// mayServe tells why units must not be sent to a sidecar that answered so.
func (c *shared) mayServe(w *sidecarpb.Welcome) error {
	if !c.commits() || slices.Contains(w.GetFeatures(), featureExactlyOnce) {
		return nil
	}
	return invalidConfig(&ConfigError{Config: "pipeline.Config", Field: "Mode", Value: "exactly-once",
		Remedy: fmt.Sprintf("the sidecar at %s (version %s) commits no offsets: %s", c.cfg.Target, w.GetServerVersion(), remedyNoTransactions)})
}

// memberFenced tells that the group does not know a member any more, if it is one of now.
func (s *stream) memberFenced(m *sidecarpb.MemberFenced) {
	if !s.books.assigned.isMember(m.GetGroup(), m.GetConsumer(), m.GetMemberId()) {
		return
	}
	why := &Error{Code: CodeMemberFenced, Partition: -1, Message: "the group does not know this member any more: " + m.GetReason(),
		Err: &MemberFencedError{Group: m.GetGroup(), Consumer: m.GetConsumer(), MemberID: m.GetMemberId()}}
	for _, fn := range s.onFenced.all() {
		s.tasks.Go(func() { (*fn)(why) })
	}
}
