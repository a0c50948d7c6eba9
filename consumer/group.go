package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// onAssigned runs after every join, before the offsets of added partitions are known. They become assignments in onOffsets.
func (c *Consumer) onAssigned(ctx context.Context, cl *kgo.Client, added map[string][]int32) {
	// Before the lock: a shutdown holds it while it waits, with its last commit, for this very join to be over.
	if c.closing.Load() && !c.replaced(cl) && c.membership.Load() != nil {
		c.refreshMembership(cl)
		c.joining.Store(false)
	}
	c.identity.learn(ctx, cl)
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	c.joining.Store(false)
	wake(c.commitKick)
	if c.replaced(cl) {
		c.lose("the group took this member for a new one")
	}
	for topic, ids := range added {
		for _, id := range ids {
			c.owned[topicPartition{topic, id}] = false
		}
	}
	c.refreshMembership(cl)
	c.takeInventory(ctx, cl)
	if held := len(c.held()); len(added) == 0 || held > 0 {
		c.callAssigned(ctx, nil)
	}
	if stranded := c.stranded(); len(stranded) > 0 && !c.closing.Load() {
		c.reacquire(ctx, cl, unknown(stranded))
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

// stranded lists partitions that the group assigns to us, that the client reads on where it stood, and whose stay we ended because the
// membership was doubtful. The client reads no committed offset for what it never gave up, so nobody else would take them up (S10).
func (c *Consumer) stranded() []topicPartition {
	var all []topicPartition
	for tp, begun := range c.owned {
		if begun && c.lookup(tp.topic, tp.partition) == nil && !c.waiting.has(tp) {
			all = append(all, tp)
		}
	}
	return all
}

// reacquire begins a new stay of partitions that the client holds, from what the group has committed by now. Either no poll runs
// meanwhile, or the client has them paused. hookMu is held.
func (c *Consumer) reacquire(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RebalanceTimeout/2)
	defer cancel()
	failed := c.readCommitted(ctx, cl, offsets, c.found)
	starts, more := c.beginStays(ctx, cl, offsets)
	maps.Copy(failed, more)
	c.setAside(cl, failed)
	positions := map[string]map[int32]kgo.EpochOffset{}
	var begun []topicPartition
	for topic, ps := range starts {
		positions[topic] = map[int32]kgo.EpochOffset{}
		for id, o := range ps {
			positions[topic][id] = kgo.EpochOffset{Epoch: -1, Offset: o.EpochOffset().Offset}
			begun = append(begun, topicPartition{topic, id})
		}
	}
	cl.SetOffsets(positions)
	c.noLonger(cl, begun)
}

// joinAgain makes the client join once more, a little later.
func (c *Consumer) joinAgain(cl *kgo.Client) {
	select {
	case <-(*c.runCtx.Load()).Done():
	case <-time.After(time.Second):
		cl.ForceRebalance()
	}
}

func (c *Consumer) refreshMembership(cl *kgo.Client) {
	id, generation := cl.GroupMetadata()
	c.membership.Store(&Membership{Group: c.cfg.Group, MemberID: id, Generation: generation, InstanceID: c.cfg.InstanceID,
		ClusterID: c.identity.clusterID(), Consumer: c.identity.number})
	c.troubles.joined()
}

// callAssigned tells who follows the assignments. That the client's next rebalance has begun must not keep it from them.
func (c *Consumer) callAssigned(ctx context.Context, added []*Assignment) {
	ctx = context.WithoutCancel(ctx)
	if c.cfg.Hooks.Assigned != nil {
		c.cfg.Hooks.Assigned(ctx, *c.membership.Load(), added)
	}
}

// onRevoked runs when partitions leave in good order: the member is still in the group and may commit. It also runs, with nothing, before
// every join.
func (c *Consumer) onRevoked(_ context.Context, cl *kgo.Client, revoked map[string][]int32) {
	c.joining.Store(false) // no callback runs during a join
	defer c.holdCommits()
	if len(revoked) == 0 {
		return
	}
	for _, p := range c.heldOf(revoked) {
		p.stopped.Store(true)
	}
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	for topic, ids := range revoked {
		for _, id := range ids {
			delete(c.owned, topicPartition{topic, id})
			c.noLonger(cl, []topicPartition{{topic, id}})
		}
	}
	if c.replaced(cl) {
		c.lose("the group took this member for a new one")
		return
	}
	if err := c.letGo(c.heldOf(revoked), ErrRevoked); err != nil {
		c.log.Warn("partitions were revoked before their inputs were done", "err", err)
	}
}

// holdCommits waits for the commit in flight and takes the next ones past the client until the join that follows is over: the client would block
// them, with our lock held, and a shutdown or a lost membership meanwhile would have to wait for the other members. See sendInJoin.
func (c *Consumer) holdCommits() {
	if c.released.Load() {
		return // no commit follows; the last one may hang, and leaving the group must not wait for it
	}
	c.commitMu.Lock()
	c.joining.Store(true)
	c.commitMu.Unlock()
}

// onLost runs when the membership is gone. Everything held is fenced first, before any lock that a drain may hold.
func (c *Consumer) onLost(_ context.Context, cl *kgo.Client, _ map[string][]int32) {
	for _, p := range c.held() {
		p.fence(ErrLost)
	}
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	clear(c.owned)
	c.noLonger(cl, c.waiting.all())
	c.lose("the membership was lost")
	c.holdCommits()
}

// lostStay is what is known of a stay that ended without its last commit.
type lostStay struct {
	topicID [16]byte
	until   int64 // the first offset that was not read in it
	why     string
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
		a := p.assignment
		c.again[topicPartition{a.Topic, a.Partition}] = lostStay{a.TopicID, p.next(), why}
	}
	c.remove(parts)
	c.log.Warn("partitions lost: nothing is committed, their inputs are handed out again", "why", why, "partitions", len(parts))
	if c.cfg.Hooks.Lost != nil {
		c.cfg.Hooks.Lost(assignments(parts))
	}
}

// letGo ends the stay of partitions in good order: no more Start, drain under the deadline, end the handlers' context, hook, commit, fence.
// It returns an *AbandonedError for what was started and not done, and at a shutdown an *UncommittedError when the last commit failed. hookMu is held.
func (c *Consumer) letGo(parts []*partition, why error) error {
	if len(parts) == 0 {
		return nil
	}
	begun := time.Now()
	for _, p := range parts {
		p.beginDrain(why)
	}
	deadline, late := time.NewTimer(c.cfg.DrainTimeout), false
	wanted := c.onNoDrain(func() { deadline.Reset(0) })
	for _, p := range parts {
		p.awaitDrain(deadline.C, &late)
	}
	wanted()
	deadline.Stop()
	var abandoned *AbandonedError
	for _, p := range parts {
		if a := p.abandoned(); a.Count > 0 {
			if abandoned == nil {
				abandoned = &AbandonedError{After: min(c.cfg.DrainTimeout, time.Since(begun))}
			}
			abandoned.Partitions = append(abandoned.Partitions, a)
		}
		p.end(why)
	}
	end := time.Now().Add((c.cfg.RebalanceTimeout - c.cfg.DrainTimeout) / 2)
	if errors.Is(why, ErrShutdown) {
		end = time.Now().Add(finalCommitTimeout)
	}
	if c.cfg.Hooks.Revoking != nil {
		ctx, cancel := context.WithDeadline(context.Background(), end)
		c.cfg.Hooks.Revoking(ctx, assignments(parts))
		cancel()
	}
	var uncommitted error
	if errors.Is(why, ErrShutdown) {
		uncommitted = c.commitAndFenceUntil(parts, end)
	} else {
		uncommitted = c.commitAndFence(parts, why, end)
	}
	c.remove(parts)
	c.log.Info("partitions released", "why", why, "partitions", len(parts), "took", time.Since(begun).Round(time.Millisecond))
	var errs []error
	if abandoned != nil {
		errs = append(errs, abandoned)
	}
	if uncommitted != nil && errors.Is(why, ErrShutdown) {
		errs = append(errs, &UncommittedError{Group: c.cfg.Group, Err: uncommitted})
	}
	return errors.Join(errs...)
}

// onNoDrain calls fn when Run's context has ended with ErrNoDrain, until stop is called.
func (c *Consumer) onNoDrain(fn func()) (stop func() bool) {
	run := c.runCtx.Load()
	if run == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(*run, func() {
		if errors.Is(context.Cause(*run), ErrNoDrain) {
			fn()
		}
	})
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
