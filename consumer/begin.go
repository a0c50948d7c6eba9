package consumer

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// onOffsets is called with the group's committed offsets of added partitions, negative where there
// is none, before their first fetch. No other callback runs meanwhile, and the partitions cannot be
// revoked until it returns.
func (g *group) onOffsets(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	if g.life.Closing() {
		return offsets, nil // nothing is polled any more
	}
	begun := time.Now()
	var parts []*partition
	defer func() { g.around.metrics.rebalanced(byAssign, parts, time.Since(begun)) }()
	// The client's context ends with the next rebalance, and the client begins to read
	// nevertheless: an assignment that was not announced then would be refused everything it
	// delivers.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.stepTimeout())
	defer cancel()
	defer context.AfterFunc(g.life.Context(), cancel)() // a shutdown waits for this callback
	cl := g.brokers.client.Load()
	failed := g.leftOut(offsets)
	parts, starts, more := g.beginAssignments(ctx, cl, offsets)
	maps.Copy(failed, more)
	g.setAside(cl, failed)
	for tp := range failed {
		if starts[tp.topic] == nil {
			starts[tp.topic] = map[int32]kgo.Offset{}
		}
		starts[tp.topic][tp.partition] = kgo.NewOffset().At(0) // the client holds it, paused
	}
	return starts, nil
}

// found is what the group has committed for a partition. All of it comes from one answer: the
// done-set of another offset would be a wrong one.
type found struct {
	offset   int64
	epoch    int32
	metadata string
	err      error // offset means nothing
}

// onFetched is called with the answer that holds the group's committed offsets, just before
// onOffsets gets the offsets alone.
func (g *group) onFetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	for _, of := range resp.Groups {
		for _, t := range of.Topics {
			for _, p := range t.Partitions {
				f := found{offset: -1, err: kerr.ErrorForCode(p.ErrorCode)}
				if p.ErrorCode == 0 && p.Metadata != nil {
					f = found{offset: p.Offset, epoch: p.LeaderEpoch, metadata: *p.Metadata}
				}
				g.found[topicPartition{t.Topic, p.Partition}] = f
			}
		}
	}
	return nil
}

// inherits tells whether some committed metadata of these topics could be a done-set.
func (g *group) inherits(offsets map[string]map[int32]kgo.Offset) bool {
	for tp, f := range g.found {
		if _, asked := offsets[tp.topic][tp.partition]; asked && donemeta.Ours(f.metadata) {
			return true
		}
	}
	return false
}

// leftOut lists partitions that were added and whose committed offset the client could not learn:
// it drops them from the assignment, and would never read them as long as this member lives. hookMu
// is held.
func (g *group) leftOut(offsets map[string]map[int32]kgo.Offset) map[topicPartition]error {
	failed := map[topicPartition]error{}
	for tp, begun := range g.owned {
		if _, known := offsets[tp.topic][tp.partition]; !begun && !known {
			failed[tp] = errNoOffset
			if f := g.found[tp]; f.err != nil {
				failed[tp] = fmt.Errorf("%w: %w", errNoOffset, f.err)
			}
			delete(g.found, tp)
		}
	}
	return failed
}

// beginAssignments finds where to start, makes the assignment epochs and announces them. What
// cannot begin now is in failed. hookMu is held.
func (g *group) beginAssignments(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset) (
	parts []*partition, starts map[string]map[int32]kgo.Offset, failed map[topicPartition]error,
) {
	topics, err := g.survey.describe(ctx, offsets, g.inherits(offsets) || g.cfg.CommitElsewhere)
	if err != nil {
		failed = map[topicPartition]error{}
		fail(failed, offsets, err)
		return nil, map[string]map[int32]kgo.Offset{}, failed
	}
	starts, failed = g.survey.startOffsets(ctx, cl, offsets, topics)
	g.identity.learn(ctx, cl)
	g.refreshMembership(cl)
	parts = g.admit(starts, offsets, topics)
	// The start of a partition that the group had nothing for is committed before anything is read
	// from it. Otherwise a crash before the first done input would look up "latest" again, later,
	// and skip what lies between (S11); and autoscalers see no lag of a group without offsets.
	if err := g.commits.commitStarts(parts); err != nil {
		parts = g.withdraw(parts, starts, failed, fmt.Errorf("committing where to start: %w", err))
		if groupcommit.Judge(err) == groupcommit.Ousted {
			g.life.Go(func() { g.joinAgain(cl) }) // the join finds out who we are
		}
	}
	g.announce(ctx, parts)
	return parts, starts, failed
}

// withdraw takes assignments back whose start could not be committed, and returns the others. Those
// that waited stay paused: the client would read on from wherever it is, and what it has passed
// would be missing when they begin (S1).
func (g *group) withdraw(parts []*partition, starts map[string]map[int32]kgo.Offset, failed map[topicPartition]error, err error) []*partition {
	var kept, gone []*partition
	for _, p := range parts {
		a := p.assignment
		p.mu.Lock()
		begun := p.core.Counts().Committed >= a.Start || p.halted != nil
		p.mu.Unlock()
		if begun {
			kept = append(kept, p)
			continue
		}
		p.fence(ErrLost)
		p.end(ErrLost)
		gone = append(gone, p)
		delete(starts[a.Topic], a.Partition)
		failed[topicPartition{a.Topic, a.Partition}] = err
	}
	g.parts.flowMu.Lock()
	defer g.parts.flowMu.Unlock()
	g.parts.remove(gone) // and no pause is taken back: one that waited before waits on
	return kept
}

// admit makes an assignment epoch of each partition.
func (g *group) admit(starts, had map[string]map[int32]kgo.Offset, topics map[string]topicInfo) []*partition {
	var added []*partition
	for topic, ps := range starts {
		for id, start := range ps {
			a := &Assignment{
				Topic: topic, TopicID: topics[topic].id, Partition: id, LeaderEpoch: topics[topic].epoch(id),
				Epoch: lastEpoch.Add(1), Start: start.EpochOffset().Offset,
			}
			if l, ok := g.again[topicPartition{topic, id}]; ok {
				delete(g.again, topicPartition{topic, id})
				if l.topicID == a.TopicID && a.Start < l.until {
					a.Again, a.AgainUntil = l.why, l.until
				}
			}
			p := newPartition(g.around, a, max(-1, had[topic][id].EpochOffset().Offset))
			if f, ok := g.found[topicPartition{topic, id}]; ok {
				delete(g.found, topicPartition{topic, id})
				p.inherit(f)
			}
			p.checkStart(had[topic][id].EpochOffset().Offset)
			g.parts.add(p)
			g.owned[topicPartition{topic, id}] = true
			added = append(added, p)
		}
	}
	return added
}

func (g *group) announce(ctx context.Context, parts []*partition) {
	for _, p := range parts {
		a := p.assignment
		g.log.Info("partition assigned", "topic", a.Topic, "partition", a.Partition, "start", a.Start, "epoch", a.Epoch, "done_set", a.DoneSet != "")
	}
	g.callAssigned(ctx, assignments(parts))
	g.parts.balance()
}

// reacquire begins a new assignment of partitions that the client holds, from what the group has
// committed by now. Either no poll runs meanwhile, or the client has them paused. hookMu is held.
func (g *group) reacquire(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, g.stepTimeout())
	defer cancel()
	failed := g.survey.readCommitted(ctx, cl, offsets, g.found)
	parts, starts, more := g.beginAssignments(ctx, cl, offsets)
	defer func() { g.around.metrics.moved(parts, time.Since(begun)) }()
	maps.Copy(failed, more)
	g.setAside(cl, failed)
	positions := map[string]map[int32]kgo.EpochOffset{}
	var taken []topicPartition
	for topic, ps := range starts {
		positions[topic] = map[int32]kgo.EpochOffset{}
		for id, o := range ps {
			positions[topic][id] = kgo.EpochOffset{Epoch: -1, Offset: o.EpochOffset().Offset}
			taken = append(taken, topicPartition{topic, id})
		}
	}
	cl.SetOffsets(positions)
	g.noLonger(cl, taken)
}

// restart replaces an assignment by one that starts at another offset, under the same membership.
// It returns nil when the assignment ended meanwhile. It may wait for hookMu: whoever holds that
// while a poll is being worked off does not wait for the poll.
func (g *group) restart(p *partition, start int64) *partition {
	g.hookMu.Lock()
	defer g.hookMu.Unlock()
	m := g.current.Load()
	if m == nil || g.parts.find(p.assignment.Topic, p.assignment.Partition) != p {
		return nil
	}
	p.fence(ErrLost)
	p.end(ErrLost)
	a := *p.assignment
	a.Epoch, a.Start, a.DoneSet = lastEpoch.Add(1), start, ""
	fresh := newPartition(g.around, &a, -1)
	g.parts.flowMu.Lock()
	g.parts.add(fresh)
	if cl := g.brokers.client.Load(); cl != nil {
		cl.ResumeFetchPartitions(map[string][]int32{a.Topic: {a.Partition}}) // the old assignment may have been paused; the new one does not know
	}
	g.parts.flowMu.Unlock()
	if g.cfg.Hooks.Lost != nil {
		g.cfg.Hooks.Lost([]*Assignment{p.assignment})
	}
	g.callAssigned(context.Background(), []*Assignment{&a})
	return fresh
}
