package producer

import (
	"context"
	"fmt"
	"time"

	"github.com/ackmark/ackmark/internal/txn"
)

// asks is for who only asks brokers: the lane is not started by it, since nobody may ever produce
// here, and another process may have the id.
func (t *transactional) asks() (lane *txn.Lane, started bool, err error) {
	t.direct.mu.Lock()
	defer t.direct.mu.Unlock()
	if err := t.make(); err != nil {
		return nil, false, err
	}
	if t.direct.closed {
		return nil, false, errClosed()
	}
	return t.lane, t.started, nil
}

// Check implements Producer. Until something has begun the lane it asks a broker only.
func (t *transactional) Check(ctx context.Context) error {
	lane, started, err := t.asks()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cl := lane.Client()
	if err := cl.Ping(ctx); err != nil {
		return noBrokerAnswered(cl, err)
	}
	if !started {
		return nil
	}
	select {
	case <-lane.Started():
	case <-ctx.Done():
		return fmt.Errorf("producer: the transactional id %q is not taken yet: %w; look at the log", t.direct.cfg.TransactionalID, context.Cause(ctx))
	}
	_, _, err = t.asks()
	return err
}

// CheckTopics implements TopicChecker.
func (t *transactional) CheckTopics(ctx context.Context, topics ...string) error {
	lane, _, err := t.asks()
	if err != nil {
		return err
	}
	return checkTopics(ctx, lane.Client(), topics)
}
