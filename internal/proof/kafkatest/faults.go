package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// repairLimit bounds the repair of all brokers: a start, catching up, elections.
const repairLimit = 90 * time.Second

// own returns the broker with this index, or skips the test on a cluster that is not ours to break.
func (c *Cluster) own(what string, i int) *broker {
	c.tb.Helper()
	if len(c.brokers) == 0 {
		c.tb.Skipf("kafkatest: %s needs brokers that the test started; %s names a cluster that is not ours to break", what, brokersEnv)
	}
	if i < 0 || i >= len(c.brokers) {
		c.tb.Fatalf("kafkatest: %s(%d): there are %d brokers", what, i, len(c.brokers))
	}
	return c.brokers[i]
}

// CanBreak skips the test at once, before it has done work, where Kill, Pause and Restart cannot be
// used.
func (c *Cluster) CanBreak() {
	c.tb.Helper()
	c.own("Kill", 0)
}

// Kill ends a broker with SIGKILL. When the test ends it is repaired, if the test has not done it.
func (c *Cluster) Kill(i int) {
	c.tb.Helper()
	b := c.own("Kill", i)
	c.tb.Cleanup(c.Repair)
	c.mu.Lock()
	defer c.mu.Unlock()
	b.proc.Kill()
}

// Pause stops a broker with SIGSTOP: its connections stay and nothing answers.
func (c *Cluster) Pause(i int) {
	c.tb.Helper()
	b := c.own("Pause", i)
	c.tb.Cleanup(c.Repair)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := b.proc.Pause(); err != nil {
		c.tb.Fatalf("kafkatest: pause broker %d: %v", i, err)
	}
	b.isPaused = true
}

// Resume lets a paused broker go on.
func (c *Cluster) Resume(i int) {
	c.tb.Helper()
	b := c.own("Resume", i)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := b.resume(); err != nil {
		c.tb.Fatalf("kafkatest: resume broker %d: %v", i, err)
	}
}

func (b *broker) resume() error {
	b.isPaused = false
	return b.proc.Resume()
}

// Restart starts a broker again, after a Kill or instead of one, and returns when it is part of the
// cluster. Its partitions may still be catching up: [Cluster.Repair] waits for that.
func (c *Cluster) Restart(i int) {
	c.tb.Helper()
	b := c.own("Restart", i)
	c.mu.Lock()
	defer c.mu.Unlock()
	b.proc.Kill()
	if err := b.start(); err != nil {
		c.tb.Fatalf("kafkatest: restart broker %d: %v", i, err)
	}
	c.must(fmt.Sprintf("broker %d", i), c.allRegistered)
}

// Repair starts what is dead, resumes what is paused, and waits until every partition has all its
// replicas and its preferred leader.
func (c *Cluster) Repair() {
	c.tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), repairLimit)
	defer cancel()
	for _, b := range c.brokers {
		var err error
		switch {
		case !b.proc.Running():
			err = b.start()
		case b.isPaused:
			err = b.resume()
		}
		if err != nil {
			c.tb.Fatalf("kafkatest: repair broker %d: %v", b.id, err)
		}
	}
	err := c.await(ctx, "all brokers", c.allRegistered)
	if err == nil {
		err = c.await(ctx, "all replicas in sync", c.allInSync)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
}

// allRegistered tells whether the brokers that should run are known to clients of each of them.
func (c *cluster) allRegistered(ctx context.Context) error {
	var ids []int32
	for _, b := range c.brokers {
		if b.running() {
			ids = append(ids, int32(b.id))
		}
	}
	m, err := c.metadata(ctx, c.admin)
	if err != nil {
		return err
	}
	if len(m.Brokers) != len(ids) {
		return fmt.Errorf("%d of %d brokers are registered", len(m.Brokers), len(ids))
	}
	for _, id := range ids {
		m, err := c.metadata(ctx, c.admin.Broker(int(id)))
		if err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
		if len(m.Brokers) != len(ids) {
			return fmt.Errorf("broker %d knows %d of %d brokers", id, len(m.Brokers), len(ids))
		}
	}
	return nil
}

func (c *cluster) allInSync(ctx context.Context) error {
	m, err := c.metadata(ctx, c.running()[0], allTopics)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			switch {
			case len(p.ISR) < len(p.Replicas):
				errs = append(errs, fmt.Errorf("%s/%d has %v of %v in sync", *t.Topic, p.Partition, p.ISR, p.Replicas))
			case p.Leader != p.Replicas[0]:
				errs = append(errs, fmt.Errorf("%s/%d is led by %d of %v", *t.Topic, p.Partition, p.Leader, p.Replicas), c.elect(ctx, *t.Topic, p.Partition))
			}
		}
	}
	return errors.Join(errs...)
}
