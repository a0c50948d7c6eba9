package demo

import (
	"context"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// autoCommitter is an ordinary consume-transform-produce service with auto-commit, as thousands run
// it: a poll loop that fills a buffer, workers that empty it, and a client that commits, in the
// background, what the poll loop received. Nothing in it is made worse than usual: equal keys go to
// the same worker, outputs are produced with acks=all by an idempotent producer, SIGTERM drains and
// commits. It keeps up and loses nothing as long as nobody kills it.
type autoCommitter struct {
	spec     childSpec
	consumer *kgo.Client
	producer *kgo.Client
	queues   []chan *kgo.Record // together bufferSize
	workers  sync.WaitGroup
	inFlight atomic.Int64
	failed   chan error
}

func (c *child) runAutoCommit(ctx context.Context) error {
	a := &autoCommitter{spec: c.spec, failed: make(chan error, 1)}
	c.inFlight.Store(new(a.held))
	opts, err := c.kgoOptions(&c.prodConn)
	if err != nil {
		return err
	}
	a.producer, err = kgo.NewClient(append(opts, kgo.SeedBrokers(c.spec.Brokers...), kgo.RequiredAcks(kgo.AllISRAcks()))...)
	if err != nil {
		return err
	}
	defer a.producer.Close()
	if opts, err = c.kgoOptions(&c.conns); err != nil {
		return err
	}
	a.consumer, err = kgo.NewClient(append(opts,
		kgo.SeedBrokers(c.spec.Brokers...),
		kgo.ConsumerGroup(c.spec.Group),
		kgo.ConsumeTopics(c.spec.Input),
		kgo.AutoCommitInterval(commitEvery),
		kgo.SessionTimeout(c.spec.SessionTimeout),
		kgo.HeartbeatInterval(c.spec.heartbeat()),
	)...)
	if err != nil {
		return err
	}
	defer a.consumer.CloseAllowingRebalance()
	alive := context.WithoutCancel(ctx) // SIGTERM does not cancel what was received
	for range c.spec.Workers {
		queue := make(chan *kgo.Record, bufferSize/c.spec.Workers)
		a.queues = append(a.queues, queue)
		a.workers.Go(func() { a.work(alive, queue) })
	}
	a.poll(ctx)
	return a.drain(alive)
}

// held counts no bytes: auto-commit has no budget of them.
func (a *autoCommitter) held() (records, bytes int64) { return a.inFlight.Load(), 0 }

// poll hands what it receives to the buffer. Each call of PollRecords tells the client that the
// records of the call before are taken over: from then on they are committed at the next interval,
// although they may still lie in the buffer. That is auto-commit.
func (a *autoCommitter) poll(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := a.consumer.PollRecords(ctx, pollRecords)
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			h := fnv.New32a()
			h.Write(r.Key)
			a.inFlight.Add(1)
			a.queues[h.Sum32()%uint32(len(a.queues))] <- r
		}
	}
}

func (a *autoCommitter) work(ctx context.Context, queue <-chan *kgo.Record) {
	for r := range queue {
		_ = work(ctx, a.spec.Work)
		out := &kgo.Record{Topic: a.spec.Output, Key: r.Key, Value: transform(r.Value), Headers: r.Headers}
		a.producer.Produce(ctx, out, func(_ *kgo.Record, err error) {
			a.inFlight.Add(-1)
			if err != nil {
				select {
				case a.failed <- err:
				default:
				}
			}
		})
	}
}

// drain is the clean end: finish the buffer, wait for the acknowledgements, commit, leave.
func (a *autoCommitter) drain(ctx context.Context) error {
	for _, queue := range a.queues {
		close(queue)
	}
	a.workers.Wait()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := a.producer.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-a.failed:
		return err
	default:
	}
	return a.consumer.CommitUncommittedOffsets(ctx)
}
