package consumer

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// onAssigned runs after every join, before the offsets of added partitions are known. They become assignments in onOffsets.
func (c *Consumer) onAssigned(ctx context.Context, cl *kgo.Client, added map[string][]int32) {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	if c.replaced(cl) {
		c.expel(cl, "the group took this member for a new one")
	}
	c.refreshMembership(cl)
	if held := len(c.held()); len(added) == 0 || held > 0 {
		c.callAssigned(ctx, nil)
	}
}

// replaced tells that the client got another member id while partitions were held: the coordinator forgot the old member between a heartbeat
// and a join, and the client went on silently. Others may have held, advanced and committed those partitions meanwhile, so what we
// hold of them is lost, although the client believes that it kept them (S2).
func (c *Consumer) replaced(cl *kgo.Client) bool {
	m := c.membership.Load()
	id, _ := cl.GroupMetadata()
	return m != nil && m.MemberID != id && len(c.held()) > 0
}

func (c *Consumer) refreshMembership(cl *kgo.Client) {
	id, generation := cl.GroupMetadata()
	c.membership.Store(&Membership{Group: c.cfg.Group, MemberID: id, Generation: generation, InstanceID: c.cfg.InstanceID})
	c.troubles.joined()
}

func (c *Consumer) callAssigned(ctx context.Context, added []*Assignment) {
	if c.cfg.Hooks.Assigned != nil {
		c.cfg.Hooks.Assigned(ctx, *c.membership.Load(), added)
	}
}

// onOffsets is called with the group's committed offsets of added partitions, negative where there is none, before their first fetch. No
// other callback runs meanwhile, and the partitions cannot be revoked until it returns.
func (c *Consumer) onOffsets(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	if c.closing.Load() {
		return offsets, nil // nothing is polled any more
	}
	cl := c.client.Load()
	topics := c.describe(ctx, offsets)
	starts, err := c.startOffsets(ctx, cl, offsets, topics)
	if err != nil {
		c.log.Warn("finding where to start failed; the group is joined again", "err", err)
		return nil, err
	}
	c.refreshMembership(cl)
	parts := c.admit(starts, offsets, topics)
	// The start of a partition that the group had nothing for is committed before anything is read from it. Otherwise a crash before the first
	// done input would look up "latest" again, later, and skip what lies between (S11); and autoscalers see no lag of a group without offsets.
	if err := c.commitStarts(parts); err != nil {
		c.log.Warn("committing where to start failed; the group is joined again", "err", err)
		return nil, err
	}
	c.announce(ctx, parts)
	return starts, nil
}

// admit makes an assignment epoch of each partition.
func (c *Consumer) admit(starts, had map[string]map[int32]kgo.Offset, topics map[string]topicInfo) []*partition {
	c.partsMu.Lock()
	defer c.partsMu.Unlock()
	var added []*partition
	for topic, ps := range starts {
		if c.parts[topic] == nil {
			c.parts[topic] = map[int32]*partition{}
		}
		for id, start := range ps {
			a := &Assignment{
				Topic: topic, TopicID: topics[topic].id, Partition: id, LeaderEpoch: topics[topic].epoch(id),
				Epoch: epochs.Add(1), Start: start.EpochOffset().Offset,
			}
			p := newPartition(c, a, max(-1, had[topic][id].EpochOffset().Offset))
			c.parts[topic][id] = p
			added = append(added, p)
		}
	}
	return added
}

func (c *Consumer) announce(ctx context.Context, parts []*partition) {
	for _, p := range parts {
		a := p.assignment
		c.log.Info("partition assigned", "topic", a.Topic, "partition", a.Partition, "start", a.Start, "epoch", a.Epoch)
	}
	c.callAssigned(ctx, assignments(parts))
	c.wakeFlow()
}

// onRevoked runs when partitions leave in good order: the member is still in the group and may commit.
func (c *Consumer) onRevoked(_ context.Context, cl *kgo.Client, revoked map[string][]int32) {
	if len(revoked) == 0 {
		return
	}
	for _, p := range c.heldOf(revoked) {
		p.stopped.Store(true)
	}
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	if c.replaced(cl) {
		c.expel(cl, "the group took this member for a new one")
		return
	}
	if err := c.letGo(c.heldOf(revoked), ErrRevoked); err != nil {
		c.log.Warn("partitions were revoked before their inputs were done", "err", err)
	}
}

// onLost runs when the membership is gone. Everything held is fenced first, before any lock that a drain may hold.
func (c *Consumer) onLost(context.Context, *kgo.Client, map[string][]int32) {
	for _, p := range c.held() {
		p.fence(ErrLost)
	}
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	c.lose("the membership was lost")
}

// lose ends all stays without a commit. hookMu is held.
func (c *Consumer) lose(why string) {
	parts := c.held()
	c.membership.Store(nil)
	if len(parts) == 0 {
		return
	}
	for _, p := range parts {
		p.fence(ErrLost)
		p.end(ErrLost)
	}
	c.remove(parts)
	c.log.Warn("partitions lost: nothing is committed, their inputs are handed out again", "why", why, "partitions", len(parts))
	if c.cfg.Hooks.Lost != nil {
		c.cfg.Hooks.Lost(assignments(parts))
	}
}

// expel loses everything and makes the client join from scratch. The client believes that it is a healthy member and would neither read
// the committed offsets of what it holds again nor hand them to others: leaving in its name makes its next heartbeat fail. hookMu is held.
func (c *Consumer) expel(cl *kgo.Client, why string) {
	c.lose(why)
	id, _ := cl.GroupMetadata()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = c.cfg.Group, id
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID = id
	if c.cfg.InstanceID != "" {
		member.InstanceID = &c.cfg.InstanceID
	}
	req.Members = append(req.Members, member)
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		if _, err := req.RequestWith(ctx, cl); err != nil {
			c.log.Warn("leaving the group to join it again failed", "err", err)
		}
	})
}

// letGo ends the stay of partitions in good order: no more Start, drain under the deadline, end the handlers' context, hook, commit, fence.
// It returns an *AbandonedError for what was started and not done. hookMu is held.
func (c *Consumer) letGo(parts []*partition, why error) error {
	if len(parts) == 0 {
		return nil
	}
	begun := time.Now()
	for _, p := range parts {
		p.beginDrain(why)
	}
	deadline, late := time.NewTimer(c.cfg.DrainTimeout), false
	for _, p := range parts {
		p.awaitDrain(deadline.C, &late)
	}
	deadline.Stop()
	var abandoned *AbandonedError
	for _, p := range parts {
		if a := p.abandoned(); a.Count > 0 {
			if abandoned == nil {
				abandoned = &AbandonedError{After: c.cfg.DrainTimeout}
			}
			abandoned.Partitions = append(abandoned.Partitions, a)
		}
		p.end(why)
	}
	end := begun.Add(c.cfg.DrainTimeout + (c.cfg.RebalanceTimeout-c.cfg.DrainTimeout)/2)
	if c.cfg.Hooks.Revoking != nil {
		ctx, cancel := context.WithDeadline(context.Background(), end)
		c.cfg.Hooks.Revoking(ctx, assignments(parts))
		cancel()
	}
	c.commitAndFence(parts, why, end)
	c.remove(parts)
	c.log.Info("partitions released", "why", why, "partitions", len(parts), "took", time.Since(begun).Round(time.Millisecond))
	if abandoned != nil {
		return abandoned
	}
	return nil
}

// heldOf lists those of the named partitions that are held.
func (c *Consumer) heldOf(names map[string][]int32) []*partition {
	c.partsMu.RLock()
	defer c.partsMu.RUnlock()
	var parts []*partition
	for topic, ids := range names {
		for _, id := range ids {
			if p := c.parts[topic][id]; p != nil {
				parts = append(parts, p)
			}
		}
	}
	return parts
}

// remove forgets ended stays, and takes their pauses back: the client keeps a pause beyond the assignment.
func (c *Consumer) remove(parts []*partition) {
	c.flowMu.Lock()
	defer c.flowMu.Unlock()
	c.partsMu.Lock()
	resume := map[string][]int32{}
	for _, p := range parts {
		a := p.assignment
		if c.parts[a.Topic][a.Partition] == p {
			delete(c.parts[a.Topic], a.Partition)
		}
		resume[a.Topic] = append(resume[a.Topic], a.Partition)
	}
	c.partsMu.Unlock()
	if cl := c.client.Load(); cl != nil {
		cl.ResumeFetchPartitions(resume)
	}
}

func assignments(parts []*partition) []*Assignment {
	as := make([]*Assignment, len(parts))
	for i, p := range parts {
		as[i] = p.assignment
	}
	slices.SortFunc(as, func(a, b *Assignment) int { return int(int64(a.Epoch) - int64(b.Epoch)) })
	return as
}
