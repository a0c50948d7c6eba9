package consumer

import (
	"context"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// sendPast commits past the client: while a join runs, and in a shutdown.
//
// A join takes as long as the slowest member needs: after a crash, as long as the dead member's
// session. The client would hold the commit back until then, and everything done meanwhile would be
// repeated after another crash or a shutdown. The broker takes commits of the old generation while
// it waits for joins (PreparingRebalance), and what we hold stays ours until we have joined and let
// go of it. So the request goes out as it is, under the newest generation of the same member:
// one that comes too late is refused by the broker (ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS), and
// is made again from a fresh snapshot when the join is over.
//
// A shutdown does not wait for a coordinator that is silent, and leaves the group while its last
// commit is on its way. In the client that commit would hold a lock that the client's join needs.
//
// The caller holds commitMu, and the membership was read under it (S2, S3).
func (c *committer) sendPast(m Membership, d due) error {
	cl := c.brokers.client.Load()
	member := groupcommit.Member{Group: m.Group, MemberID: m.MemberID, InstanceID: m.InstanceID, Generation: m.Generation}
	if id, generation := cl.GroupMetadata(); id == m.MemberID {
		member.Generation = max(m.Generation, generation) // a join is over, and its callback waits for us
	}
	// A shutdown that has waited long enough fences without commitMu: what it had begun to send, in
	// several requests or behind a look at the topics, ends here.
	if !member.Valid() || d.fenced() {
		return groupcommit.ErrStale
	}
	resp, err := groupcommit.Request(&member, d.points).RequestWith(context.Background(), cl)
	if err == nil {
		err = c.apply(d, resp)
	}
	_, generation := cl.GroupMetadata()
	if groupcommit.Judge(err) == groupcommit.Ousted && (c.joining.Load() || generation != member.Generation) {
		return groupcommit.ErrStale // the join itself finds out whether the member is known
	}
	return err
}

// named tells that every topic has an id: by name, a recreated topic would take the offsets of the
// deleted one (S11).
func named(points []groupcommit.Point) bool {
	for i := range points {
		if points[i].TopicID == ([16]byte{}) {
			return false
		}
	}
	return true
}

// holdCommits waits for the commit in flight and takes the next ones past the client until the join
// that follows is over: the client would block them, with our lock held, and a shutdown or a lost
// membership meanwhile would have to wait for the other members. See sendPast.
func (c *committer) holdCommits() {
	if c.released.Load() {
		return // no commit follows; the last one may hang, and leaving the group must not wait for it
	}
	c.commitMu.Lock()
	c.joining.Store(true)
	c.commitMu.Unlock()
}

// joined ends what holdCommits began.
func (c *committer) joined() { c.joining.Store(false) }
