package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// errNotOurs: between the snapshot and the request the membership changed, or a stay ended. A fresh snapshot tells what is still ours.
var errNotOurs = errors.New("the membership changed while a commit was on its way")

// point is what one commit says about one partition.
type point struct {
	p        *partition
	offset   int64
	epoch    int32
	metadata string // the done-set
	finished int64  // inputs done in the stay by then
}

type topicPartition struct {
	topic     string
	partition int32
}

// commitLoop commits by time and by count until ctx ends. A failed commit is tried again sooner, with backoff, always from a fresh snapshot.
func (c *Consumer) commitLoop(ctx context.Context) {
	retry := newBackoff(c.cfg.CommitEvery)
	next := time.NewTimer(c.cfg.CommitEvery)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case <-c.commitKick:
		}
		if c.commitSome() == nil {
			retry.Reset()
			next.Reset(c.cfg.CommitEvery)
		} else {
			next.Reset(retry.NextBackOff())
		}
	}
}

func newBackoff(limit time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMultiplier(2), backoff.WithRandomizationFactor(0.3),
		backoff.WithMaxInterval(max(limit, 50*time.Millisecond)), backoff.WithMaxElapsedTime(0))
}

// commitSome commits every mark that moved, and answers what the broker says about the membership.
// A done-set that changed counts as a move.
func (c *Consumer) commitSome() error {
	c.doneSince.Store(0)
	c.commitMu.Lock()
	by := c.membership.Load()
	err := c.attempt(c.held())
	c.commitMu.Unlock()
	if kind(err) == kindFenced {
		c.hookMu.Lock()
		defer c.hookMu.Unlock()
		// The callbacks may have been faster: then the error is about a membership that is gone already, and the one that followed is sound.
		if m := c.membership.Load(); m != nil && by != nil && *m == *by {
			c.lose(err.Error())
			c.client.Load().ForceRebalance() // the join finds out who we are; onAssigned takes the partitions up again
		}
		return nil
	}
	if kind(err) == kindRetry {
		return err
	}
	return nil
}

// commitStarts commits once, for partitions that were just admitted. Only those without a committed offset have moved.
func (c *Consumer) commitStarts(parts []*partition) error {
	c.commitMu.Lock()
	defer c.commitMu.Unlock()
	return c.attempt(parts)
}

// commitAndFence is the last commit of stays that end. The fence falls under the lock of the commit: nothing of these stays can be
// committed after it (S2). It retries what can be retried until end.
func (c *Consumer) commitAndFence(parts []*partition, why error, end time.Time) error {
	retry := newBackoff(time.Second)
	for {
		c.commitMu.Lock()
		err := c.attempt(parts)
		wait := retry.NextBackOff()
		if kind(err) != kindRetry || time.Now().Add(wait).After(end) {
			for _, p := range parts {
				p.fence(why)
			}
			c.commitMu.Unlock()
			if err != nil {
				c.log.Warn("the last commit failed: what was done since the one before is handed out again", "err", err)
			}
			return err
		}
		c.commitMu.Unlock()
		time.Sleep(wait)
	}
}

// finalCommitTimeout is how long a shutdown waits for the last commit to be answered.
const finalCommitTimeout = 5 * time.Second

// commitAndFenceUntil is commitAndFence for a shutdown, which no coordinator may hold up: where it does not answer by end, the stays are fenced
// and closing the client ends the commit. Nothing follows it, so nothing can be applied out of order.
func (c *Consumer) commitAndFenceUntil(parts []*partition, end time.Time) error {
	answered := make(chan error, 1)
	c.wg.Go(func() { answered <- c.commitAndFence(parts, ErrShutdown, end) })
	late := time.NewTimer(time.Until(end))
	defer late.Stop()
	select {
	case err := <-answered:
		return err
	case <-late.C:
		for _, p := range parts {
			p.fence(ErrShutdown)
		}
		c.log.Warn("the last commit was not answered: what was done since the one before is handed out again", "waited", finalCommitTimeout)
		return fmt.Errorf("the coordinator did not answer within %s", finalCommitTimeout)
	}
}

// attempt commits what is due of these partitions, once. commitMu is held: one commit is in flight at a time (S3), and whether
// a partition is still ours is read under the lock that a revoke takes to end it (S2).
func (c *Consumer) attempt(parts []*partition) error {
	points := c.snapshot(parts)
	if len(points) == 0 {
		c.troubles.committed(nil)
		return nil
	}
	m := c.membership.Load()
	if m == nil {
		return errNotOurs
	}
	err := c.sendAll(*m, points)
	if !errors.Is(err, errNotOurs) {
		c.troubles.committed(err)
	}
	if err != nil && kind(err) != kindRetry {
		c.log.Warn("commit failed", "err", err)
	}
	return err
}

// sendAll sends what is due, in requests that the broker takes. A partition that it refuses does not keep the others waiting; what is wrong with
// the way or the membership does.
func (c *Consumer) sendAll(m Membership, points []point) (worst error) {
	for part := range donemeta.Commits(points, func(pt *point) int {
		return donemeta.CommitSize(m.Group, pt.p.assignment.Topic, pt.metadata)
	}) {
		err := c.sendPart(m, part)
		if kind(err) > kind(worst) {
			worst = err
		}
		if kind(err) >= kindRetry {
			break
		}
	}
	return worst
}

func (c *Consumer) sendPart(m Membership, points []point) error {
	points, worst := c.sameTopics(points)
	if len(points) == 0 {
		return worst
	}
	send := c.send
	if c.joining.Load() {
		send = c.sendInJoin
	}
	if err := send(m, points); kind(err) > kind(worst) {
		worst = err
	}
	return worst
}

// snapshot takes the marks that moved, and those with more done above them. A mark is by construction at or below the first input not done (S1).
func (c *Consumer) snapshot(parts []*partition) []point {
	var points []point
	for _, p := range parts {
		p.mu.Lock()
		if pt, due := p.due(); due {
			points = append(points, pt)
		}
		p.mu.Unlock()
	}
	return points
}

// send issues one commit and applies its answers. Its context is never cancelled: cancelling would break the connection, and the
// broker could apply this commit after the next one.
func (c *Consumer) send(m Membership, points []point) (result error) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	byName := map[topicPartition]*point{}
	for i := range points {
		pt := &points[i]
		a := pt.p.assignment
		if offsets[a.Topic] == nil {
			offsets[a.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[a.Topic][a.Partition] = kgo.EpochOffset{Epoch: pt.epoch, Offset: pt.offset}
		byName[topicPartition{a.Topic, a.Partition}] = pt
	}
	ctx := kgo.PreCommitFnContext(context.Background(), func(req *kmsg.OffsetCommitRequest) error { return prepare(req, m, byName) })
	c.client.Load().CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			result = err
			return
		}
		c.commitVersion.Store(int32(resp.Version))
		result = c.apply(req, resp, byName)
	})
	return result
}

// prepare looks again, just before the request is written, with the member id and generation already in it. A commit can wait in
// the client while it joins; without this look, one that was taken before the membership was lost would go out under the next one, and overwrite
// what another member committed between (S2). It also never lets generation −1 out, which an empty group would take from anyone.
func prepare(req *kmsg.OffsetCommitRequest, m Membership, byName map[topicPartition]*point) error {
	if req.Generation < 0 || req.MemberID == "" || req.MemberID != m.MemberID || req.Generation < m.Generation {
		return errNotOurs
	}
	for _, pt := range byName {
		pt.p.mu.Lock()
		fenced := pt.p.fenced
		pt.p.mu.Unlock()
		if fenced {
			return errNotOurs
		}
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			if pt := byName[topicPartition{t.Topic, t.Partitions[j].Partition}]; pt != nil {
				t.Partitions[j].Metadata = &pt.metadata
			}
		}
	}
	return nil
}

// apply takes the answer for each partition and returns the gravest error among them.
func (c *Consumer) apply(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, byName map[topicPartition]*point) error {
	names := map[[16]byte]string{}
	for _, t := range req.Topics {
		names[t.TopicID] = t.Topic
	}
	var worst error
	for _, t := range resp.Topics {
		if t.Topic == "" {
			t.Topic = names[t.TopicID]
		}
		for _, rp := range t.Partitions {
			pt := byName[topicPartition{t.Topic, rp.Partition}]
			if pt == nil {
				continue
			}
			err := c.answer(pt, kerr.ErrorForCode(rp.ErrorCode))
			if err != nil && kind(err) > kind(worst) {
				worst = err
			}
		}
	}
	return worst
}

func (c *Consumer) answer(pt *point, err error) error {
	p := pt.p
	if err == nil {
		p.mu.Lock()
		p.committed = max(p.committed, pt.offset)
		p.handover.set, p.handover.finished = pt.metadata, pt.finished
		p.mu.Unlock()
		return nil
	}
	a := p.assignment
	err = fmt.Errorf("committing %s partition %d at %d: %w", a.Topic, a.Partition, pt.offset, err)
	switch kind(err) {
	case kindRecreated:
		p.mu.Lock()
		p.uncommit = true
		p.mu.Unlock()
		p.halt(recreated(pt.offset, err))
	case kindRefused:
		c.stop(c.groupError(err))
	}
	if errors.Is(err, kerr.OffsetMetadataTooLarge) {
		c.refuseDoneSets()
	}
	return err
}

// errorKind is what an error of the group coordinator means for a commit, in the order of gravity.
type errorKind int

const (
	kindNone errorKind = iota
	kindRecreated
	kindOther
	kindRetry
	kindFenced
	kindRefused
)

func kind(err error) errorKind {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return kindNone
	case is(kerr.UnknownTopicID, kerr.InconsistentTopicID):
		return kindRecreated
	case is(kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.FencedMemberEpoch, kerr.StaleMemberEpoch):
		return kindFenced
	case is(kerr.FencedInstanceID, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, // not of a topic: the others go on
		kerr.InvalidGroupID, kerr.InconsistentGroupProtocol, kerr.GroupMaxSizeReached, kerr.InvalidSessionTimeout, kerr.UnreleasedInstanceID):
		return kindRefused
	case is(kgo.ErrClientClosed):
		return kindOther
	case is(errNotOurs, kerr.RebalanceInProgress, kerr.OffsetMetadataTooLarge) || kerr.IsRetriable(err): // too large: next time without
		return kindRetry
	}
	if _, broker := errors.AsType[*kerr.Error](err); broker {
		return kindOther
	}
	return kindRetry // the network
}

// groupError says what to do about a coordinator that refuses the member.
func (c *Consumer) groupError(err error) *GroupError {
	remedy := "see the broker's log"
	for target, text := range map[error]string{
		kerr.FencedInstanceID:           fmt.Sprintf("another process runs with InstanceID %q: give each process its own", c.cfg.InstanceID),
		kerr.UnreleasedInstanceID:       fmt.Sprintf("another process runs with InstanceID %q: give each process its own", c.cfg.InstanceID),
		kerr.GroupAuthorizationFailed:   "grant READ on the group to this principal",
		kerr.TopicAuthorizationFailed:   "grant READ on the topic to this principal",
		kerr.ClusterAuthorizationFailed: "grant the cluster right to this principal",
		kerr.InvalidGroupID:             "use another group name",
		kerr.InconsistentGroupProtocol:  "other members of the group use another balancer: use another group, or set Options to theirs with AllowEager",
		kerr.GroupMaxSizeReached:        "raise group.max.size on the brokers, or run fewer members",
		kerr.InvalidSessionTimeout:      fmt.Sprintf("SessionTimeout %s is outside the brokers' group.min/max.session.timeout.ms", c.cfg.SessionTimeout),
		kerr.SaslAuthenticationFailed:   "check the credentials in Config.Options",
	} {
		if errors.Is(err, target) {
			remedy = text
		}
	}
	return &GroupError{Group: c.cfg.Group, Err: err, Remedy: remedy}
}
