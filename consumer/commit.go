package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lifecycle"
)

// committer commits what is done, one commit at a time.
type committer struct {
	cfg      *Config
	log      *slog.Logger
	life     *lifecycle.Life
	troubles *troubles
	brokers  *brokers
	parts    *held

	member    func() *Membership // that commits are made under; nil: none
	forbidden func(error)        // the coordinator refuses this member for good
	metrics   *metrics

	commitMu   chanMutex
	commitKick chan struct{}
	doneSince  atomic.Int64
	joining    atomic.Bool // a join runs, or is about to: set under commitMu
	ending     atomic.Bool // the shutdown lets everything go
	released   atomic.Bool // it has: no commit follows
	commitSupport
}

func newCommitter(cfg *Config, log *slog.Logger, b *brokers, parts *held) *committer {
	return &committer{cfg: cfg, log: log, brokers: b, parts: parts, commitMu: newChanMutex(), commitKick: make(chan struct{}, 1)}
}

// countDone counts for CommitAfter.
func (c *committer) countDone(n int) {
	limit := int64(c.cfg.CommitAfter)
	if now := c.doneSince.Add(int64(n)); now >= limit && now-int64(n) < limit {
		wake(c.commitKick)
	}
}

// due is what is to be committed: what is said of each partition, and at the same place of whom.
type due struct {
	points []groupcommit.Point
	of     []dueOf
}

type dueOf struct {
	p  *partition
	at assignment.Commit
}

func (d *due) add(pt groupcommit.Point, of dueOf) {
	d.points, d.of = append(d.points, pt), append(d.of, of)
}

// fenced tells that an assignment in it has ended.
func (d *due) fenced() bool {
	for i := range d.of {
		p := d.of[i].p
		p.mu.Lock()
		over := p.core.State().Over()
		p.mu.Unlock()
		if over {
			return true
		}
	}
	return false
}

func (d *due) part(first, end int) due { return due{d.points[first:end:end], d.of[first:end:end]} }

type topicPartition struct {
	topic     string
	partition int32
}

// commitLoop commits by time and by count until ctx ends, and tells when the broker says that the
// membership is over. A failed commit is tried again sooner, with backoff, always from a fresh
// snapshot.
func (c *committer) commitLoop(ctx context.Context, ousted func(by *Membership, err error)) {
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
		if c.commitSome(ousted) == nil {
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

// commitSome commits every mark that moved. A done-set that changed counts as a move. The error is
// for what is worth another attempt soon.
func (c *committer) commitSome(ousted func(by *Membership, err error)) error {
	if c.cfg.CommitElsewhere {
		c.follow(c.parts.all())
		return nil
	}
	c.doneSince.Store(0)
	c.commitMu.Lock()
	by := c.member()
	err := c.attempt(c.parts.all())
	c.commitMu.Unlock()
	if groupcommit.Judge(err) == groupcommit.Ousted {
		ousted(by, err)
		return nil
	}
	if groupcommit.Judge(err) == groupcommit.Again {
		return err
	}
	return nil
}

// commitStarts commits once, for partitions that were just admitted. Only those without a committed
// offset have moved.
func (c *committer) commitStarts(parts []*partition) error {
	c.commitMu.Lock()
	defer c.commitMu.Unlock()
	return c.attempt(parts)
}

// commitAndFence is the last commit of assignments that end. The fence falls under the lock of the
// commit: nothing of these assignments can be committed after it (S2). It retries what can be
// retried until end.
func (c *committer) commitAndFence(parts []*partition, why error, end time.Time) error {
	if c.cfg.CommitElsewhere {
		c.follow(parts)
		for _, p := range parts {
			p.fence(why)
		}
		return nil
	}
	retry := newBackoff(time.Second)
	for {
		c.commitMu.Lock()
		err := c.attempt(parts)
		wait := retry.NextBackOff()
		if groupcommit.Judge(err) != groupcommit.Again || time.Now().Add(wait).After(end) {
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

// commitAndFenceUntil is commitAndFence for a shutdown, which no coordinator may hold up: where it
// does not answer by end, the assignments are fenced and closing the client ends the commit.
// Nothing follows it, so nothing can be applied out of order.
func (c *committer) commitAndFenceUntil(parts []*partition, end time.Time) error {
	answered := make(chan error, 1)
	c.life.Go(func() { answered <- c.commitAndFence(parts, ErrShutdown, end) })
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

// attempt commits what is due of these partitions, once. commitMu is held: one commit is in flight
// at a time (S3), and whether a partition is still ours is read under the lock that a revoke takes
// to end it (S2).
func (c *committer) attempt(parts []*partition) error {
	d := c.snapshot(parts)
	if len(d.points) == 0 {
		c.troubles.committed(nil)
		return nil
	}
	m := c.member()
	if m == nil {
		return groupcommit.ErrStale
	}
	err := c.sendAll(*m, d)
	c.metrics.committed(err)
	if !errors.Is(err, groupcommit.ErrStale) {
		c.troubles.committed(err)
	}
	if err != nil && groupcommit.Judge(err) != groupcommit.Again {
		c.log.Warn("commit failed", "err", err)
	}
	return err
}

// sendAll sends what is due, in requests that the broker takes. A partition that it refuses does
// not keep the others waiting; what is wrong with the connection or the membership does.
func (c *committer) sendAll(m Membership, d due) (worst error) {
	for first, end := range groupcommit.Parts(m.Group, d.points) {
		err := c.sendPart(m, d.part(first, end))
		worst = groupcommit.Worse(worst, err)
		if groupcommit.Judge(err) >= groupcommit.Again {
			break
		}
	}
	return worst
}

func (c *committer) sendPart(m Membership, d due) error {
	d, worst := c.sameTopics(d)
	if len(d.points) == 0 {
		return worst
	}
	send := c.send
	switch byID := named(d.points); {
	case byID && (c.joining.Load() || c.ending.Load()):
		send = c.sendPast
	case c.joining.Load():
		return groupcommit.Worse(worst, groupcommit.ErrStale)
	}
	if c.cfg.tracer != nil {
		send = c.traced(send)
	}
	return groupcommit.Worse(worst, send(m, d))
}

// snapshot takes the marks that moved, and those with more done above them. A mark is by
// construction at or below the first input not done (S1).
func (c *committer) snapshot(parts []*partition) (d due) {
	for _, p := range parts {
		cut, a := 0, p.assignment
		p.mu.Lock()
		if at, moved := p.core.Due(!c.noDoneSets.Load()); moved {
			p.check(at)
			d.add(groupcommit.Point{
				Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, Offset: at.Offset, LeaderEpoch: at.LeaderEpoch, Metadata: at.Set,
			}, dueOf{p, at})
			cut = at.Cut
		}
		p.mu.Unlock()
		if cut > 0 { // not under mu: a Logger may call State
			c.log.Error("a done-set did not fit: a part of what it says is done again after a hand-over; this is a bug in Ackmark",
				"topic", a.Topic, "partition", a.Partition, "cut", cut)
		}
	}
	return d
}

// send issues one commit and applies its answers. Its context is never cancelled: cancelling would
// break the connection, and the broker could apply this commit after the next one.
func (c *committer) send(m Membership, d due) (result error) {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for i := range d.points {
		pt := &d.points[i]
		if offsets[pt.Topic] == nil {
			offsets[pt.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[pt.Topic][pt.Partition] = kgo.EpochOffset{Epoch: pt.LeaderEpoch, Offset: pt.Offset}
	}
	ctx := kgo.PreCommitFnContext(context.Background(), func(req *kmsg.OffsetCommitRequest) error { return prepare(req, m, d) })
	c.brokers.client.Load().CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			result = err
			return
		}
		result = c.apply(d, resp)
	})
	return result
}

// prepare looks again, just before the request is written, with the member id and generation
// already in it. A commit can wait in the client while it joins; without this look, one that was
// taken before the membership was lost would go out under the next one, and overwrite what another
// member committed between (S2). It also never lets generation −1 out, which an empty group would
// take from anyone.
func prepare(req *kmsg.OffsetCommitRequest, m Membership, d due) error {
	if req.Generation < 0 || req.MemberID == "" || req.MemberID != m.MemberID || req.Generation < m.Generation {
		return groupcommit.ErrStale
	}
	if d.fenced() {
		return groupcommit.ErrStale
	}
	said := map[topicPartition]*groupcommit.Point{}
	for i := range d.points {
		said[topicPartition{d.points[i].Topic, d.points[i].Partition}] = &d.points[i]
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			pt := said[topicPartition{t.Topic, t.Partitions[j].Partition}]
			if pt == nil {
				continue
			}
			t.Partitions[j].Metadata = &pt.Metadata
			if pt.TopicID != ([16]byte{}) {
				t.TopicID = pt.TopicID // of the log that was read, whatever the client has heard of since (S11)
			}
		}
	}
	return nil
}

// apply takes the answer for each partition and returns the gravest error among them.
func (c *committer) apply(d due, resp *kmsg.OffsetCommitResponse) (worst error) {
	c.commitVersion.Store(int32(resp.Version))
	for i, err := range c.certain(d.points, groupcommit.Answers(d.points, resp)) {
		worst = groupcommit.Worse(worst, c.answer(&d.points[i], d.of[i], err))
	}
	return worst
}

func (c *committer) answer(pt *groupcommit.Point, of dueOf, err error) error {
	p := of.p
	if err == nil {
		p.mu.Lock()
		p.core.Committed(of.at)
		p.mu.Unlock()
		return nil
	}
	err = fmt.Errorf("committing %s partition %d at %d: %w", pt.Topic, pt.Partition, pt.Offset, err)
	switch groupcommit.Judge(err) {
	case groupcommit.Recreated:
		p.disown()
		p.halt(recreated(pt.Offset, err))
	case groupcommit.Forbidden:
		c.forbidden(c.cfg.groupError(err))
	}
	if errors.Is(err, kerr.OffsetMetadataTooLarge) {
		c.refuseDoneSets()
	}
	return err
}

// refuseDoneSets stops writing done-sets: the brokers take less metadata than Kafka's default.
func (c *committer) refuseDoneSets() {
	if c.noDoneSets.Swap(true) {
		return
	}
	c.log.Error("the brokers refuse done-sets: inputs that finish out of order are done again after a hand-over; "+
		"set offset.metadata.max.bytes to its default on the brokers", "needed", donemeta.MaxText)
}
