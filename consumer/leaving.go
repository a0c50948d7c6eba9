package consumer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// lostAssignment is what is known of an assignment that ended without its last commit.
type lostAssignment struct {
	topicID [16]byte
	until   int64 // the first offset that was not read in it
	why     string
}

// lose ends all assignments without a commit. hookMu is held.
func (g *group) lose(why string) {
	parts := g.parts.all()
	g.current.Store(nil)
	if len(parts) == 0 {
		return
	}
	begun := time.Now()
	for _, p := range parts {
		p.fence(ErrLost)
		p.end(ErrLost)
		a := p.assignment
		g.again[topicPartition{a.Topic, a.Partition}] = lostAssignment{a.TopicID, p.next(), why}
	}
	g.remove(parts)
	g.log.Warn("partitions lost: nothing is committed, their inputs are handed out again", "why", why, "partitions", len(parts))
	if g.cfg.Hooks.Lost != nil {
		g.cfg.Hooks.Lost(assignments(parts))
	}
	g.around.metrics.rebalanced(byLost, parts, time.Since(begun))
}

// letGo ends the assignment of partitions in good order: no more Start, drain under the deadline,
// end the handlers' context, commit, hook, commit what became done meanwhile, fence. The first
// commit comes before the hook, since that releases them: from then on no will names them, and a
// process that is killed in between would have said nowhere what it had done. It returns an
// *AbandonedError for what was started and not done, and at a shutdown an *UncommittedError when
// the last commit failed. hookMu is held.
func (g *group) letGo(parts []*partition, why error) error {
	return g.letGoWithin(g.cfg.DrainTimeout, time.Now(), parts, why)
}

// letGoWithin is letGo of partitions whose drain has begun, and may last so much longer.
func (g *group) letGoWithin(drain time.Duration, begun time.Time, parts []*partition, why error) error {
	if len(parts) == 0 {
		return nil
	}
	for _, p := range parts {
		p.beginDrain(why)
	}
	deadline, late := time.NewTimer(drain), false
	wanted := g.onNoDrain(func() { deadline.Reset(0) })
	for _, p := range parts {
		p.awaitDrain(deadline.C, &late)
	}
	wanted()
	deadline.Stop()
	var abandoned *AbandonedError
	for _, p := range parts {
		if a := p.abandoned(); a.Count > 0 {
			if abandoned == nil {
				abandoned = &AbandonedError{After: min(g.cfg.DrainTimeout, time.Since(begun))}
			}
			abandoned.Partitions = append(abandoned.Partitions, a)
			g.around.metrics.abandoned(p.assignment, a.Count)
		}
		p.end(why)
	}
	end := time.Now().Add((g.cfg.RebalanceTimeout - g.cfg.DrainTimeout) / 2)
	if errors.Is(why, ErrShutdown) {
		end = time.Now().Add(finalCommitTimeout)
	}
	uncommitted := g.commits.commitFirst(parts) // of a topic created anew nothing is due any more
	if g.cfg.Hooks.Revoking != nil {
		ctx, cancel := context.WithDeadline(context.Background(), end)
		g.cfg.Hooks.Revoking(ctx, assignments(parts))
		cancel()
	}
	var last error
	if errors.Is(why, ErrShutdown) {
		last = g.commits.commitAndFenceUntil(parts, end)
	} else {
		last = g.commits.commitAndFence(parts, why, end)
	}
	uncommitted = cmp.Or(last, uncommitted)
	g.remove(parts)
	g.around.metrics.letGo(why, parts, time.Since(begun))
	g.log.Info("partitions released", "why", why, "partitions", len(parts), "took", time.Since(begun).Round(time.Millisecond))
	var errs []error
	if abandoned != nil {
		errs = append(errs, abandoned)
	}
	if uncommitted != nil && errors.Is(why, ErrShutdown) {
		errs = append(errs, &UncommittedError{Group: g.cfg.Group, Err: uncommitted})
	}
	return errors.Join(errs...)
}

// firstCommitTimeout is how long partitions that leave wait for the commit before their release.
const firstCommitTimeout = time.Second

// commitFirst commits what is done of partitions that leave, once; commitAndFence follows, which
// tries again what is due. A coordinator that does not answer holds it up for a moment only.
func (c *committer) commitFirst(parts []*partition) error {
	if c.cfg.CommitElsewhere {
		return nil
	}
	answered := make(chan error, 1)
	c.life.Go(func() {
		c.commitMu.Lock()
		defer c.commitMu.Unlock()
		answered <- c.attempt(parts)
	})
	late := time.NewTimer(firstCommitTimeout)
	defer late.Stop()
	select {
	case err := <-answered:
		if groupcommit.Judge(err) == groupcommit.Recreated {
			return err
		}
	case <-late.C:
	}
	return nil
}

// onNoDrain calls fn when Run's context has ended with ErrNoDrain, until stop is called.
func (g *group) onNoDrain(fn func()) (stop func() bool) {
	run := g.life.Context()
	if run == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(run, func() {
		if errors.Is(context.Cause(run), ErrNoDrain) {
			fn()
		}
	})
}

// remove forgets ended assignments, and takes their pauses back: the client keeps a pause beyond
// the assignment.
func (g *group) remove(parts []*partition) {
	g.parts.flowMu.Lock()
	defer g.parts.flowMu.Unlock()
	g.parts.remove(parts)
	resume := map[string][]int32{}
	for _, p := range parts {
		resume[p.assignment.Topic] = append(resume[p.assignment.Topic], p.assignment.Partition)
	}
	if cl := g.brokers.client.Load(); cl != nil {
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

// shutdown lets go of everything.
func (g *group) shutdown() error {
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	g.commits.ending.Store(true)
	defer g.commits.released.Store(true)
	return g.letGo(g.parts.all(), ErrShutdown)
}

// leave leaves the group (a static member stays, for its successor) and closes the client.
func (g *group) leave(cl *kgo.Client) (left error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	id, _ := cl.GroupMetadata()
	err := cl.LeaveGroupContext(ctx)
	if g.brokers.epochs() && g.cfg.InstanceID != "" && id != "" {
		err = g.leaveForNow(ctx, cl, id)
	}
	g.left = err == nil
	if err != nil {
		g.log.Warn("leaving the group failed: its partitions wait for the session timeout", "err", err, "session_timeout", g.cfg.SessionTimeout)
		// A join that waits for other members holds the leave up: then the group goes on by the
		// session timeout, and nothing is wrong here.
		if g.current.Load() != nil && !errors.Is(err, context.DeadlineExceeded) {
			left = &LeaveError{Group: g.cfg.Group, Err: err}
		}
		g.brokers.endClient() // or closing waits for that join, for as long as the others need, or until it is taken for lost
	}
	cl.CloseAllowingRebalance()
	cl.AllowRebalance() // closing polls once more, and a goroutine that leaves the group again waits for that poll's end, for ever if nobody tells it
	return left
}

const leaveTimeout = 5 * time.Second

// rejoin is the slow part of fence: it waits for a rebalance step that may run.
func (g *group) rejoin() {
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	why := *g.fencedBy.Load()
	if g.life.Closing() {
		return
	}
	g.lose(why.Error())
	// The join finds out whether the group still knows this member, and onAssigned takes up what it
	// keeps, from what is committed by then.
	g.joinAgainNow(g.brokers.client.Load())
}

// fence ends every assignment at once, as if the membership were lost, and has maintain do the
// rest. It does not wait: when it returns nothing done from then on counts, and no commit that is
// not on its way already goes out.
func (g *group) fence(why error) {
	for _, p := range g.parts.all() {
		p.fence(ErrLost)
		p.end(ErrLost)
	}
	g.fencedBy.Store(&why)
	wake(g.fenceKick)
}
