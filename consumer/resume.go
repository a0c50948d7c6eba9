package consumer

import (
	"errors"
	"fmt"
)

// ErrNotHalted: the partition is not held, or not halted. It may have moved to another member, which begins it anew.
var ErrNotHalted = errors.New("consumer: the partition is not halted here")

// Resume takes a halted partition up again, without a restart: call it when the cause is gone. What is done is committed, and a new stay begins at
// the first input that is not, which is handed out again; inputs above it that were done are not. The error is ErrNotHalted, ErrNotRunning or ErrClosed.
//
// It waits for the partition's inputs that are still worked on, at most DrainTimeout: do not call it from a handler of that partition.
func (c *Consumer) Resume(topic string, id int32) error {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	cl := c.client.Load()
	switch {
	case c.closing.Load():
		return ErrClosed
	case cl == nil:
		return ErrNotRunning
	}
	p := c.lookup(topic, id)
	if p == nil || !p.isHalted() {
		return fmt.Errorf("%w: %s partition %d", ErrNotHalted, topic, id)
	}
	if err := c.letGo([]*partition{p}, ErrRevoked); err != nil {
		c.log.Warn("a halted partition is resumed before its other inputs were done", "err", err)
	}
	// The group still assigns it to this member: after the next join it is taken up from what the group has, as every partition that is ours
	// and has no stay.
	cl.ForceRebalance()
	return nil
}

func (p *partition) isHalted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.halted != nil
}
