package consumer

import (
	"fmt"
	"slices"
	"time"
)

// Resume takes a halted partition up again, without a restart: call it when the cause is gone. What
// is done is committed, and a new assignment begins at the first input that is not, which is handed
// out again; inputs above it that were done are not. The error is ErrNotHalted, ErrNotRunning or
// ErrClosed.
//
// It waits for the partition's inputs that are still worked on, at most DrainTimeout: do not call
// it from a handler of that partition.
func (c *Consumer) Resume(topic string, id int32) error {
	return c.renew(func() ([]*partition, error) {
		p := c.parts.find(topic, id)
		if p == nil || !p.isHalted() {
			return nil, fmt.Errorf("%w: %s partition %d", ErrNotHalted, topic, id)
		}
		return []*partition{p}, nil
	})
}

// Renew ends assignments in good order, as before a rebalance, and has new ones of the same
// partitions begin from what is done: for an input that can be done under another assignment only.
// What is done above the ack marks is not handed out again. Those that are over already are left
// alone. The error is ErrNotRunning or ErrClosed.
//
// It waits for inputs that are still worked on, at most DrainTimeout: do not call it from a handler
// of such a partition.
func (c *Consumer) Renew(list []*Assignment) error {
	return c.renew(func() (parts []*partition, _ error) {
		for _, a := range list {
			if p := c.parts.find(a.Topic, a.Partition); p != nil && p.assignment == a {
				parts = append(parts, p)
			}
		}
		return parts, nil
	})
}

// renew has partitions begin anew: those that rest sooner do not wait for the others.
func (c *Consumer) renew(which func() ([]*partition, error)) error {
	parts, err := c.choose(which)
	begun := time.Now()
	for _, p := range parts {
		p.beginDrain(ErrRevoked)
	}
	for deadline := begun.Add(c.cfg.DrainTimeout); err == nil && len(parts) > 0; {
		var rest []*partition
		rest, parts = c.resting(parts, deadline)
		err = c.restart(rest, begun)
	}
	return err
}

// restart ends assignments whose drain began then, and has new ones begin.
func (c *Consumer) restart(parts []*partition, begun time.Time) error {
	c.group.hookMu.Lock()
	defer c.group.hookMu.Unlock()
	cl := c.brokers.client.Load()
	if c.life.Closing() || cl == nil {
		return ErrClosed
	}
	parts = slices.DeleteFunc(parts, func(p *partition) bool { // it has left meanwhile
		return c.parts.find(p.assignment.Topic, p.assignment.Partition) != p
	})
	if len(parts) == 0 {
		return nil
	}
	if err := c.group.letGoWithin(0, begun, parts, ErrRevoked); err != nil {
		c.log.Warn("partitions begin anew before their other inputs were done", "err", err)
	}
	// The group still assigns them to this member: after the next join they are taken up from what
	// the group has, as every partition that is ours and has no assignment. Where there is no join
	// to repeat, they wait for a moment, as those that could not be begun.
	if !c.brokers.epochs() {
		cl.ForceRebalance()
		return nil
	}
	aside := make(map[topicPartition]error, len(parts))
	for _, p := range parts {
		aside[topicPartition{p.assignment.Topic, p.assignment.Partition}] = errResumed
	}
	c.group.setAside(cl, aside)
	return nil
}

func (c *Consumer) choose(which func() ([]*partition, error)) ([]*partition, error) {
	c.group.hookMu.Lock()
	defer c.group.hookMu.Unlock()
	switch {
	case c.life.Closing():
		return nil, ErrClosed
	case c.brokers.client.Load() == nil:
		return nil, ErrNotRunning
	}
	return which()
}

const (
	// restPoll is how often it is looked which partitions rest.
	restPoll = 5 * time.Millisecond
	// restGather is for how long others may come to rest with the first: each time may cost the
	// group a rebalance.
	restGather = 50 * time.Millisecond
)

// resting waits until what ran in some partitions has an outcome, and splits them off; at the
// deadline, all of them. Without hookMu: what runs may hang on the group's next generation (who
// commits offsets with outputs waits for it), of which the hooks of a rebalance tell.
func (c *Consumer) resting(parts []*partition, deadline time.Time) (rest, others []*partition) {
	poll := time.NewTicker(restPoll)
	defer poll.Stop()
	for ; slices.ContainsFunc(parts, (*partition).drains); <-poll.C {
		some := slices.ContainsFunc(parts, func(p *partition) bool { return !p.drains() })
		switch now := time.Now(); {
		case c.life.Stopping(): // who stops it drains them, too
			return nil, nil
		case !now.Before(deadline):
			return parts, nil
		case some && deadline.Sub(now) > restGather:
			time.Sleep(restGather)
			for _, p := range parts {
				if p.drains() {
					others = append(others, p)
				} else {
					rest = append(rest, p)
				}
			}
			return rest, others
		}
	}
	return parts, nil
}
