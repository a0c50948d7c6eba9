package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/lifecycle"
)

const (
	checkTimeout = 5 * time.Second
	stalledCheck = 5 * time.Minute
)

// Check tells whether the consumer works now: nil, or what is wrong and what to do. It asks one
// broker, for at most 5 s.
func (c *Consumer) Check(ctx context.Context) error {
	phase := c.life.Phase()
	stopped, commitErr := c.troubles.errors()
	switch {
	case stopped != nil:
		return stopped
	case phase == lifecycle.Ended || c.life.Closing():
		return ErrClosed
	case phase == lifecycle.New:
		return ErrNotRunning
	case c.brokers.client.Load() == nil: // it asks what the group has committed before it joins
		return c.troubles.notJoined()
	}
	if err := c.brokers.probe(ctx); err != nil {
		return err
	}
	errs := []error{c.checkPartitions()}
	if commitErr != nil {
		errs = append(errs, fmt.Errorf("consumer: commits fail: %w", commitErr))
	}
	if c.group.current.Load() == nil {
		errs = append(errs, c.troubles.notJoined())
	}
	return errors.Join(errs...)
}

// checkPartitions names what stands still.
func (c *Consumer) checkPartitions() error {
	s := c.State()
	var errs []error
	for _, w := range s.Waiting {
		errs = append(errs, w)
	}
	for _, p := range s.Partitions {
		switch {
		case p.Halted != nil:
			errs = append(errs, p.Halted)
		case p.Oldest.Age > stalledCheck:
			errs = append(errs, fmt.Errorf("consumer: %s partition %d stands still: offset %d was handed out %s ago and is not done",
				p.Topic, p.Partition, p.Oldest.Offset, p.Oldest.Age.Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// checkStart stops the consumer when it cannot start. Once all was well it ends.
func (c *Consumer) checkStart(ctx context.Context) {
	if err := c.brokers.awaitStart(ctx, c.brokers.probe); err != nil && ctx.Err() == nil {
		c.stop(err)
	}
}

// troubles keeps the last error of each kind, for Check and State.
type troubles struct {
	mu        sync.Mutex
	stopped   error
	groupErr  error
	since     time.Time // that groupErr has been there
	fetchErr  error
	commitErr error
}

func (t *troubles) set(field *error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*field = err
}

func (t *troubles) fatal(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped == nil {
		t.stopped = err
	}
}

func (t *troubles) joined()             { t.set(&t.groupErr, nil) }
func (t *troubles) fetch(err error)     { t.set(&t.fetchErr, err) }
func (t *troubles) committed(err error) { t.set(&t.commitErr, err) }

// group notes why the group is not joined.
func (t *troubles) group(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.groupErr == nil {
		t.since = time.Now()
	}
	t.groupErr = err
}

func (t *troubles) groupSince() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since
}

func (t *troubles) errors() (stopped, commit error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped, t.commitErr
}

// notJoined says why there is no membership, as far as it is known.
func (t *troubles) notJoined() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.groupErr != nil:
		return fmt.Errorf("%w: %w", ErrNotJoined, t.groupErr)
	case t.fetchErr != nil:
		return fmt.Errorf("%w: %w", ErrNotJoined, t.fetchErr)
	}
	return ErrNotJoined
}
