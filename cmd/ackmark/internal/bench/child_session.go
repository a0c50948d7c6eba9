package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// runSession is the job by franz-go's GroupTransactSession, as its page on transactions and its
// example eosConsumer have it: begin, produce what a poll brought, end. Its settings are kgo's. A
// transaction takes polls for SessionEvery, or one.
func (c *child) runSession(ctx context.Context) error {
	opts, err := c.clientOptions(
		kgo.SeedBrokers(c.spec.Brokers...),
		kgo.DefaultProduceTopic(c.spec.Output),
		kgo.TransactionalID(c.spec.TransactionalID),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumerGroup(c.spec.Group),
		kgo.ConsumeTopics(c.spec.Input),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			if len(added) > 0 {
				c.begin()
			}
		}),
	)
	if err != nil {
		return err
	}
	session, err := kgo.NewGroupTransactSession(opts...)
	if err != nil {
		return err
	}
	defer session.Close()
	defer c.meter.finish() // a profile
	c.every.Store(int64(c.spec.SessionEvery))
	for ctx.Err() == nil {
		if err := c.transact(ctx, session); err != nil {
			return err
		}
	}
	return nil
}

// transact makes one transaction, when there is something to make it of.
func (c *child) transact(ctx context.Context, session *kgo.GroupTransactSession) error {
	fetches := session.PollFetches(ctx)
	c.logFetch(fetches)
	if fetches.Empty() {
		return nil
	}
	ends := time.Now().Add(time.Duration(c.every.Load()))
	if err := session.Begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	first := kgo.AbortingFirstErrPromise(session.Client())
	c.handOn(session, fetches, first)
	for ctx.Err() == nil && time.Until(ends) > 0 {
		polling, stop := context.WithDeadline(ctx, ends)
		fetches := session.PollFetches(polling)
		stop()
		c.logFetch(fetches)
		c.handOn(session, fetches, first)
	}
	committed, err := session.End(context.Background(), first.Err() == nil)
	switch {
	case err != nil:
		return fmt.Errorf("end: %w", err)
	case !committed: // what it had is read again
		c.log.Warn("a transaction was aborted")
	}
	return nil
}

func (c *child) handOn(session *kgo.GroupTransactSession, fetches kgo.Fetches, first *kgo.FirstErrPromise) {
	fetches.EachRecord(func(in *kgo.Record) {
		session.Produce(context.Background(), &kgo.Record{Key: in.Key, Value: transform(in.Value)}, first.Promise())
	})
}

// logFetch logs what the client retries by itself.
func (c *child) logFetch(fetches kgo.Fetches) {
	fetches.EachError(func(topic string, partition int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			c.log.Warn("fetch", "topic", topic, "partition", partition, "err", err)
		}
	})
}
