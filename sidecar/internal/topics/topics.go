package topics

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
)

const (
	Max             = 16 << 10 // topics that are remembered
	describeTimeout = 5 * time.Second
	describeAgain   = 250 * time.Millisecond
	// negativeFor is how long the answer "there is no such topic" is believed: every record for a
	// misspelt name would otherwise stop its session for the second that asking takes.
	negativeFor = 3 * time.Second
)

var validTopic = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// Config of the topics.
type Config struct {
	Outlet *outlet.Outlet
	// Bytes and Records bound what waits for one partition.
	Bytes   int64
	Records int
	// RecordBytes is the largest record that is taken, where Kafka does not tell a topic's own
	// limit.
	RecordBytes int
	Log         *slog.Logger
}

// Topics are the output topics, by name.
type Topics struct {
	cfg Config

	mu     sync.Mutex // before that of a Topic
	byName map[string]*Topic
}

// New returns none yet.
func New(cfg Config) *Topics { return &Topics{cfg: cfg, byName: make(map[string]*Topic)} }

// Limit bounds what waits for one partition anew.
func (ts *Topics) Limit(bytes int64, records int) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.cfg.Bytes, ts.cfg.Records = bytes, records
	for _, t := range ts.byName {
		t.limit(bytes, records)
	}
}

func (t *Topic) limit(bytes int64, records int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes, t.records = bytes, records
	for q := range t.Queued() {
		q.Limit(bytes, records)
	}
}

// Topic is an output topic. Its partitions' queues are found by number, without a map.
type Topic struct {
	Name   string
	cfg    *Config
	ready  atomic.Bool // Kafka has told its partitions: records go straight to a queue
	queues atomic.Pointer[[]*Queue]
	Out    *outlet.Topic

	mu       sync.Mutex
	bytes    int64 // that may wait for one partition
	records  int
	probing  chan struct{} // not nil while the first record is out to learn whether the topic exists; closed by its fate
	failed   error
	failedAt time.Time
}

// Queue is what waits for one output partition.
type Queue struct {
	limit.Meter
	Partition int32
}

// ErrTooMany is why a name is not one more topic.
var ErrTooMany = errors.New("too many output topics")

// Get returns the topic of a name. Named counts those that were new to one who names them, of which
// it may have so many: topics are remembered for the sidecar's life.
func (ts *Topics) Get(name string, named *atomic.Int32, most int32) (*Topic, error) {
	if !validTopic.MatchString(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("%w: %.300q is not a name that Kafka takes", kerr.InvalidTopicException, name)
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byName[name]
	if t == nil {
		if len(ts.byName) >= Max || named.Load() >= most {
			return nil, fmt.Errorf("%w: %d are known, %q is not one of them", ErrTooMany, len(ts.byName), name)
		}
		named.Add(1)
		t = &Topic{Name: name, cfg: &ts.cfg, Out: ts.cfg.Outlet.Topic(name), bytes: ts.cfg.Bytes, records: ts.cfg.Records}
		t.queues.Store(new([]*Queue))
		ts.byName[name] = t
	}
	return t, nil
}

// All are those that were named.
func (ts *Topics) All() []*Topic {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	out := make([]*Topic, 0, len(ts.byName))
	for _, t := range ts.byName {
		out = append(out, t)
	}
	return out
}

// Queue returns the queue of a partition, and makes it if it is new.
func (t *Topic) Queue(partition int32) *Queue {
	if qs := *t.queues.Load(); int(partition) < len(qs) && qs[partition] != nil {
		return qs[partition]
	}
	return t.newQueue(partition)
}

func (t *Topic) newQueue(partition int32) *Queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.queues.Load()
	qs := make([]*Queue, max(len(old), int(partition)+1))
	copy(qs, old)
	if qs[partition] == nil {
		q := &Queue{Partition: partition}
		q.Limit(t.bytes, t.records)
		qs[partition] = q
	}
	t.queues.Store(&qs)
	return qs[partition]
}

// Prepare makes sure that records for this topic may be handed to kgo. While the topic is new, one
// record goes first and the others wait for its fate: records of a topic that does not exist would
// pile up in kgo outside all queues. It returns that record's channel to the one who is to send it,
// nil to everyone else, or why the topic does not take records.
func (t *Topic) Prepare(ctx context.Context) (first <-chan struct{}, err error) {
	for !t.ready.Load() {
		wait, mine, err := t.probe()
		switch {
		case err != nil:
			return nil, err
		case wait == nil:
			continue // it has just become known
		case mine:
			// Forget an earlier failure: kgo would ask for the metadata of a misspelt name for
			// ever.
			t.cfg.Outlet.Client().PurgeTopicsFromProducing(t.Name)
			t.askLimit(ctx)
			t.Out.Count(ctx)
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

func (t *Topic) probe() (wait <-chan struct{}, mine bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ready.Load() {
		return nil, false, nil // a record that went first now would have no fate that ends the wait for it
	}
	if t.failed != nil && time.Since(t.failedAt) < negativeFor {
		return nil, false, t.failed
	}
	if t.probing == nil {
		t.probing = make(chan struct{})
		return t.probing, true, nil
	}
	return t.probing, false, nil
}

// Known tells that a record of the topic was given a partition.
func (t *Topic) Known() {
	t.ready.Store(true)
	t.Probed(nil)
}

// Probed ends the wait for the first record. An error is believed for a while.
func (t *Topic) Probed(err error) {
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
func (t *Topic) askLimit(ctx context.Context) {
	for ctx.Err() == nil {
		limit, err := t.askLimitOnce(ctx)
		switch _, answered := errors.AsType[*kerr.Error](err); {
		case err == nil:
			t.Out.SetLimit(limit)
			return
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			return // the record's own fate will say so
		case answered || errors.Is(err, outlet.ErrNoLimit):
			t.cfg.Log.Warn("max.message.bytes of a topic is not known: if it is below the sidecar's MaxRecordBytes, Kafka refuses whole batches "+
				"for their sum, and their records are sent again in pieces; grant the sidecar's principal DESCRIBE_CONFIGS on the topic", "topic", t.Name, "assumed", t.cfg.RecordBytes, "err", err)
			return
		}
		select {
		case <-time.After(describeAgain):
		case <-ctx.Done():
		}
	}
}

func (t *Topic) askLimitOnce(ctx context.Context) (int32, error) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	return outlet.DescribeLimit(ctx, t.cfg.Outlet.Client(), t.Name)
}

// NotPartitioned tells that the first record failed before it had a partition.
func (t *Topic) NotPartitioned(err error) {
	if t.ready.Load() {
		return
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) ||
		errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.InvalidTopicException) {
		t.Probed(err)
		return
	}
	t.Probed(nil)
}

// Ready tells that Kafka has told the topic's partitions: records go straight to their queues.
func (t *Topic) Ready() bool { return t.ready.Load() }

// Queued are the queues that there are.
func (t *Topic) Queued() iter.Seq[*Queue] {
	return func(yield func(*Queue) bool) {
		for _, q := range *t.queues.Load() {
			if q != nil && !yield(q) {
				return
			}
		}
	}
}

// QueueOf is the queue of a partition, or nil if there is none yet.
func (t *Topic) QueueOf(partition int32) *Queue {
	if qs := *t.queues.Load(); partition >= 0 && int(partition) < len(qs) {
		return qs[partition]
	}
	return nil
}
