package sidecar

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	maxTopics       = 16 << 10
	describeTimeout = 5 * time.Second
	describeAgain   = 250 * time.Millisecond
	// negativeFor is how long the answer "there is no such topic" is believed: every record for a
	// misspelt name would otherwise stop its session for the second that asking takes.
	negativeFor = 3 * time.Second
)

var validTopic = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// topics are the output topics, by name.
type topics struct {
	server *Server

	mu     sync.Mutex
	byName map[string]*topic
}

// topic is an output topic. Its partitions' queues are found by number, without a map.
type topic struct {
	name   string
	server *Server
	ready  atomic.Bool // Kafka has told its partitions: records go straight to a queue
	queues atomic.Pointer[[]*queue]
	out    *outlet.Topic

	mu       sync.Mutex
	probing  chan struct{} // not nil while the first record is out to learn whether the topic exists; closed by its fate
	failed   error
	failedAt time.Time
}

// queue is what waits for one output partition.
type queue struct {
	limit.Meter
	partition int32
}

var errTooManyTopics = errors.New("too many output topics")

// get returns the topic that an app names.
func (ts *topics) get(a *app, name string) (*topic, error) {
	if !validTopic.MatchString(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("%w: %.300q is not a name that Kafka takes", kerr.InvalidTopicException, name)
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byName[name]
	if t == nil {
		if len(ts.byName) >= maxTopics || a.topics.Load() >= maxAppTopics {
			return nil, fmt.Errorf("%w: %d are known, %q is not one of them", errTooManyTopics, len(ts.byName), name)
		}
		a.topics.Add(1)
		t = &topic{name: name, server: ts.server, out: ts.server.outlet.Topic(name)}
		t.queues.Store(new([]*queue))
		ts.byName[name] = t
	}
	return t, nil
}

// topicError makes the wire's error of one from get.
func topicError(a *app, err error) *sidecarpb.Error {
	if errors.Is(err, errTooManyTopics) {
		return tooManyTopics(a)
	}
	return wire.FromKafka(err)
}

func (ts *topics) all() []*topic {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	out := make([]*topic, 0, len(ts.byName))
	for _, t := range ts.byName {
		out = append(out, t)
	}
	return out
}

// queue returns the queue of a partition, and makes it if it is new.
func (t *topic) queue(partition int32) *queue {
	if qs := *t.queues.Load(); int(partition) < len(qs) && qs[partition] != nil {
		return qs[partition]
	}
	return t.newQueue(partition)
}

func (t *topic) newQueue(partition int32) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.queues.Load()
	qs := make([]*queue, max(len(old), int(partition)+1))
	copy(qs, old)
	if qs[partition] == nil {
		q := &queue{partition: partition}
		q.Limit(t.server.cfg.PartitionBytes, t.server.cfg.PartitionRecords)
		qs[partition] = q
	}
	t.queues.Store(&qs)
	return qs[partition]
}

// prepare makes sure that records for this topic may be handed to kgo. While the topic is new, one
// record goes first and the others wait for its fate: records of a topic that does not exist would
// pile up in kgo outside all queues. It returns that record's channel to the one who is to send it,
// nil to everyone else, or why the topic does not take records.
func (t *topic) prepare(ctx context.Context) (first <-chan struct{}, err error) {
	for !t.ready.Load() {
		wait, mine, err := t.probe()
		if err != nil {
			return nil, err
		}
		if mine {
			// Forget an earlier failure: kgo would ask for the metadata of a misspelt name for
			// ever.
			t.server.client.PurgeTopicsFromProducing(t.name)
			t.askLimit(ctx)
			t.out.Count(ctx)
			return wait, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, nil
}

func (t *topic) probe() (wait <-chan struct{}, mine bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil && time.Since(t.failedAt) < negativeFor {
		return nil, false, t.failed
	}
	if t.probing == nil {
		t.probing = make(chan struct{})
		return t.probing, true, nil
	}
	return t.probing, false, nil
}

// known tells that a record of the topic was given a partition.
func (t *topic) known() {
	t.ready.Store(true)
	t.probed(nil)
}

// probed ends the wait for the first record. An error is believed for a while.
func (t *topic) probed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed, t.failedAt = err, time.Now()
	if t.probing != nil {
		close(t.probing)
		t.probing = nil
	}
}

// askLimit asks for the topic's max.message.bytes, until Kafka has answered: without Kafka nothing
// can be produced either. If the answer is that it may not be known, the default stands.
func (t *topic) askLimit(ctx context.Context) {
	for ctx.Err() == nil {
		limit, err := t.askLimitOnce(ctx)
		switch _, answered := errors.AsType[*kerr.Error](err); {
		case err == nil:
			t.out.SetLimit(limit)
			return
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			return // the record's own fate will say so
		case answered || errors.Is(err, outlet.ErrNoLimit):
			t.server.log.Warn("max.message.bytes of a topic is not known: if it is below the sidecar's MaxRecordBytes, Kafka refuses whole batches "+
				"for their sum, and their records are sent again in pieces; grant the sidecar's principal DESCRIBE_CONFIGS on the topic", "topic", t.name, "assumed", t.server.cfg.MaxRecordBytes, "err", err)
			return
		}
		select {
		case <-time.After(describeAgain):
		case <-ctx.Done():
		}
	}
}

func (t *topic) askLimitOnce(ctx context.Context) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	return outlet.DescribeLimit(ctx, t.server.client, t.name)
}
