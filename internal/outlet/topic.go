package outlet

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	askTimeout   = 2 * time.Second
	refreshEvery = time.Second
	defaultBatch = 1_000_012 // Kafka's max.message.bytes less its overhead, as every Kafka client has it
	smallest     = 512       // kgo takes no less
)

// ErrNoLimit says that the broker did not name max.message.bytes.
var ErrNoLimit = errors.New("the broker did not name it")

// Topic is an output topic.
type Topic struct {
	name        string
	outlet      *Outlet
	asked       atomic.Bool   // that has ended
	asking      atomic.Bool   // somebody has begun to ask for what Prepare wants
	prepared    chan struct{} // closed with asked. No lock: who waits for one waits for the network
	limit       atomic.Int32  // max.message.bytes as it was read last; 0: not known. Kafka holds it against the compressed batch
	batch       atomic.Int32  // what the usual client takes of it; 0: it has not asked
	partitions  atomic.Int32  // their number as it was heard last; 0: not known
	known       atomic.Bool   // it is, or was, there
	loaded      atomic.Bool   // the usual client knows its partitions: a record has a place when Produce returns
	unplaced    atomic.Int64  // records that were handed over before that, and have no place
	refreshed   atomic.Int64  // when the limit was last asked for again, and
	forgot      atomic.Int64  // when the usual client last forgot the topic, and
	forgotAgain atomic.Int64  // when the second one did; nanoseconds since 1970
	parts       atomic.Pointer[[]*part]

	mu      sync.Mutex  // makes parts
	waits   atomic.Bool // the queue is not empty, or is being handed over
	queue   []*Rec      // a large record, and what was handed over behind it, while records before it have no place; under mu
	handing bool        // somebody hands the queue over; under mu
}

// Topic returns a topic by name.
func (o *Outlet) Topic(name string) *Topic {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.topics[name]
	if t == nil {
		t = &Topic{name: name, outlet: o, prepared: make(chan struct{})}
		t.parts.Store(new([]*part))
		o.topics[name] = t
	}
	return t
}

// Partitions is their number as it was heard last, 0 if it was not.
func (t *Topic) Partitions() int32 { return t.partitions.Load() }

// SetLimit sets the topic's max.message.bytes.
func (t *Topic) SetLimit(bytes int32) { t.limit.Store(bytes) }

// Ask begins to ask for the topic's limit and partitions, once.
func (t *Topic) Ask() {
	if t.asking.Load() || !t.asking.CompareAndSwap(false, true) {
		return
	}
	t.outlet.wg.Go(func() {
		defer close(t.prepared)
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		if n, err := DescribeLimit(ctx, t.outlet.usual, t.name); err == nil {
			t.limit.Store(n)
		}
		if t.partitions.Load() == 0 {
			t.Count(ctx)
		}
		t.asked.Store(true)
	})
}

// Asked tells that Ask has its answers, or will not get them.
func (t *Topic) Asked() bool { return t.asked.Load() }

// Prepare waits for what Ask asks for, two seconds at most. Without answers everything works, but a
// batch may be refused for its sum, and be sent again in pieces. Who hands over for several topics
// asks for all of them before waiting for one.
func (t *Topic) Prepare(ctx context.Context) {
	t.Ask()
	if t.asked.Load() {
		return
	}
	select {
	case <-t.prepared:
	case <-ctx.Done():
	}
}

// Count asks for the number of partitions. Without an answer they are counted when the first record
// with a key is given one.
func (t *Topic) Count(ctx context.Context) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(t.name)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, t.outlet.usual)
	if err == nil && len(resp.Topics) == 1 && resp.Topics[0].ErrorCode == 0 {
		t.partitions.Store(int32(len(resp.Topics[0].Partitions)))
		t.known.Store(true)
	}
}

// refresh asks for the topic's limit again, beside what goes on, at most once a second.
func (o *Outlet) refresh(t *Topic) {
	now, last := time.Now().UnixNano(), t.refreshed.Load()
	if now-last < int64(refreshEvery) || o.closed.Load() || !t.refreshed.CompareAndSwap(last, now) {
		return
	}
	o.wg.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		if n, err := DescribeLimit(ctx, o.usual, t.name); err == nil {
			t.limit.Store(n)
		}
	})
}

// unlearn has the usual client forget the topic.
func (t *Topic) unlearn() {
	t.batch.Store(0) // until the client asks
	t.loaded.Store(false)
	t.outlet.usual.PurgeTopicsFromProducing(t.name)
	t.outlet.tries.forget(t.name)
	t.loaded.Store(false) // a record may have been given its place between the two
}

// batchLimit tells the usual client how large a batch of this topic may be before it is compressed:
// then Kafka refuses none for its sum.
func (o *Outlet) batchLimit(name string) int32 {
	o.mu.Lock()
	t := o.topics[name]
	o.mu.Unlock()
	if t == nil {
		t = &Topic{name: name, outlet: o}
	}
	limit := t.bound()
	t.batch.Store(limit)
	return limit
}

// bound is how large a batch of the usual client may be: the owner's bound, and the topic's if that
// is known.
func (t *Topic) bound() int32 {
	limit := min(defaultBatch, max(t.outlet.cfg.MaxRecordBytes, smallest))
	if t.outlet.base != nil {
		limit = t.outlet.base(t.name)
	}
	if n := t.limit.Load(); n > 0 {
		limit = min(limit, n)
	}
	return max(limit, smallest)
}

// batchBytes is how large a group may be.
func (t *Topic) batchBytes() int64 {
	if n := t.limit.Load(); n > 0 {
		return int64(n)
	}
	return defaultBatch
}

// large tells that the usual client would refuse the record by its size.
func (t *Topic) large(r *Rec) bool {
	batch := int64(t.batch.Load())
	if batch == 0 {
		batch = int64(t.bound()) // what the client will be told
	}
	if int64(len(r.Key)+len(r.Record.Value)) < batch/2 && len(r.Headers) == 0 {
		return false
	}
	return r.weight() > batch
}

// place returns the partition that the record goes to, if that is certain before the client
// chooses.
func (t *Topic) place(r *Rec) (id int32, ok bool) {
	n := t.partitions.Load()
	if r.Explicit {
		return r.Partition, r.Partition >= 0 && r.Partition < n // of another one the client fails this record alone
	}
	choice := t.outlet.cfg.Partitioner.ForTopic(t.name)
	if n == 0 || !choice.RequiresConsistency(&r.Record) {
		return 0, false
	}
	return int32(choice.Partition(&r.Record, int(n))), true
}

// part returns a partition, and makes it if it is new.
func (t *Topic) part(id int32) *part {
	if ps := *t.parts.Load(); int(id) < len(ps) && ps[id] != nil {
		return ps[id]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.parts.Load()
	ps := make([]*part, max(len(old), int(id)+1))
	copy(ps, old)
	if ps[id] == nil {
		ps[id] = &part{topic: t, id: id}
	}
	t.parts.Store(&ps)
	return ps[id]
}

// partitioner lets a record name its partition, and asks the inner one otherwise.
type partitioner struct{ inner kgo.Partitioner }

type topicPartitioner struct{ kgo.TopicPartitioner }

type stickyPartitioner struct {
	topicPartitioner
	kgo.TopicPartitionerOnNewBatch
}

// ForTopic implements kgo.Partitioner.
func (p partitioner) ForTopic(name string) kgo.TopicPartitioner {
	inner := p.inner.ForTopic(name)
	tp := topicPartitioner{inner}
	if on, ok := inner.(kgo.TopicPartitionerOnNewBatch); ok {
		return stickyPartitioner{tp, on}
	}
	return tp
}

// RequiresConsistency implements kgo.TopicPartitioner.
func (p topicPartitioner) RequiresConsistency(kr *kgo.Record) bool {
	r := recOf(kr)
	return r.Explicit || r.placed || p.TopicPartitioner.RequiresConsistency(kr)
}

// Partition returns an explicit partition as it is, also one that does not exist: the client then
// fails that record alone. A record that is sent again stays where it was.
func (p topicPartitioner) Partition(kr *kgo.Record, n int) int {
	r := recOf(kr)
	switch {
	case r.placed:
		return int(r.id)
	case r.Explicit:
		return int(r.Partition)
	}
	if int(r.To.partitions.Load()) != n && p.TopicPartitioner.RequiresConsistency(kr) { // then n counts all partitions, not only those that can be written to
		r.To.partitions.Store(int32(n))
	}
	return p.TopicPartitioner.Partition(kr, n)
}

func isTooLarge(err error) bool { return errors.Is(err, kerr.MessageTooLarge) }

// DescribeLimit asks for a topic's max.message.bytes.
func DescribeLimit(ctx context.Context, cl *kgo.Client, name string) (int32, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType = kmsg.ConfigResourceTypeTopic
	res.ResourceName = name
	res.ConfigNames = []string{"max.message.bytes"}
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, err
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return 0, err
		}
		for _, c := range r.Configs {
			if c.Name == "max.message.bytes" && c.Value != nil {
				n, err := strconv.ParseInt(*c.Value, 10, 32)
				return int32(n), err
			}
		}
	}
	return 0, ErrNoLimit
}
