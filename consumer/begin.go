package consumer

import (
	"context"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// onOffsets is called with the group's committed offsets of added partitions, negative where there is none, before their first fetch. No
// other callback runs meanwhile, and the partitions cannot be revoked until it returns.
func (c *Consumer) onOffsets(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	if c.closing.Load() {
		return offsets, nil // nothing is polled any more
	}
	// The client's context ends with the next rebalance, and the client begins to read nevertheless: a stay that was not announced then
	// would be refused everything it delivers.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.RebalanceTimeout/2)
	defer cancel()
	defer context.AfterFunc(*c.runCtx.Load(), cancel)() // a shutdown waits for this callback
	cl := c.client.Load()
	failed := c.leftOut(offsets)
	starts, more := c.beginStays(ctx, cl, offsets)
	maps.Copy(failed, more)
	c.setAside(cl, failed)
	for tp := range failed {
		if starts[tp.topic] == nil {
			starts[tp.topic] = map[int32]kgo.Offset{}
		}
		starts[tp.topic][tp.partition] = kgo.NewOffset().At(0) // the client holds it, paused
	}
	return starts, nil
}

// leftOut lists partitions that were added and whose committed offset the client could not learn: it drops them from the assignment, and would
// never read them as long as this member lives. hookMu is held.
func (c *Consumer) leftOut(offsets map[string]map[int32]kgo.Offset) map[topicPartition]error {
	failed := map[topicPartition]error{}
	for tp, begun := range c.owned {
		if _, known := offsets[tp.topic][tp.partition]; !begun && !known {
			failed[tp] = errNoOffset
			if f := c.found[tp]; f.err != nil {
				failed[tp] = fmt.Errorf("%w: %w", errNoOffset, f.err)
			}
			delete(c.found, tp)
		}
	}
	return failed
}

// beginStays finds where to start, makes the assignment epochs and announces them. What cannot begin now is in failed. hookMu is held.
func (c *Consumer) beginStays(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset) (
	starts map[string]map[int32]kgo.Offset, failed map[topicPartition]error,
) {
	topics, err := c.describe(ctx, offsets, c.inherits(offsets))
	if err != nil {
		failed = map[topicPartition]error{}
		fail(failed, offsets, err)
		return map[string]map[int32]kgo.Offset{}, failed
	}
	starts, failed = c.startOffsets(ctx, cl, offsets, topics)
	c.identity.learn(ctx, cl)
	c.refreshMembership(cl)
	parts := c.admit(starts, offsets, topics)
	// The start of a partition that the group had nothing for is committed before anything is read from it. Otherwise a crash before the first
	// done input would look up "latest" again, later, and skip what lies between (S11); and autoscalers see no lag of a group without offsets.
	if err := c.commitStarts(parts); err != nil {
		parts = c.withdraw(parts, starts, failed, fmt.Errorf("committing where to start: %w", err))
		if groupcommit.Judge(err) == groupcommit.Ousted {
			c.wg.Go(func() { c.joinAgain(cl) }) // the join finds out who we are
		}
	}
	c.announce(ctx, parts)
	return starts, failed
}

// withdraw takes stays back whose start could not be committed, and returns the others.
func (c *Consumer) withdraw(parts []*partition, starts map[string]map[int32]kgo.Offset, failed map[topicPartition]error, err error) []*partition {
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
	c.remove(gone)
	return kept
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
			if l, ok := c.again[topicPartition{topic, id}]; ok {
				delete(c.again, topicPartition{topic, id})
				if l.topicID == a.TopicID && a.Start < l.until {
					a.Again, a.AgainUntil = l.why, l.until
				}
			}
			p := newPartition(c, a, max(-1, had[topic][id].EpochOffset().Offset))
			if f, ok := c.found[topicPartition{topic, id}]; ok {
				delete(c.found, topicPartition{topic, id})
				p.inherit(f)
			}
			c.parts[topic][id] = p
			c.owned[topicPartition{topic, id}] = true
			added = append(added, p)
		}
	}
	return added
}

func (c *Consumer) announce(ctx context.Context, parts []*partition) {
	for _, p := range parts {
		a := p.assignment
		c.log.Info("partition assigned", "topic", a.Topic, "partition", a.Partition, "start", a.Start, "epoch", a.Epoch, "done_set", a.DoneSet != "")
	}
	c.callAssigned(ctx, assignments(parts))
	c.wakeFlow()
}
