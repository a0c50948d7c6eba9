// Package brokerwatch feeds a verify.Checker with what an embedded broker (kfake) accepts: records
// of input, output and dead-letter topics, the group's assignments, and every commit.
//
// It sees requests, not answers, so it must find out what was applied. The broker makes that exact:
// one goroutine serves every request from its control functions to its effect, and while a control
// function runs, the broker's state can be asked for. So each request finds the state that the one
// before it left: an append moved the high watermark by its records or did not, a commit is in the
// group or is not. Nothing is guessed from a protocol rule, and faults that apply and then fail are
// seen as what they are, applied.
package brokerwatch

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

// Config names the topics and the group under test.
type Config struct {
	Group       string
	Inputs      []string
	Outputs     []string
	DeadLetters []string
	// ByWill tells a leave that somebody asks for in the name of a dead member from the member's
	// own. Nil: all are their own.
	ByWill func(m kmsg.LeaveGroupRequestMember) bool
	// Taker names who asks for a transactional id, by something that a test gives to each sidecar:
	// a time-out of its own, for example. Nil: nobody knows.
	Taker func(req *kmsg.InitProducerIDRequest) string
	// BeatByWill tells the same of a member's last heartbeat, in the consumer protocol.
	BeatByWill func(req *kmsg.ConsumerGroupHeartbeatRequest) bool
}

// Watch is an observer of one cluster. It stays until the cluster is closed.
type Watch struct {
	cluster *kfake.Cluster
	checker *verify.Checker
	cfg     Config
	unzip   kgo.Decompressor

	mu      sync.Mutex
	appends []appending // of the last request
	commits *committing // of the last request
	leaves  []leaving   // of the last request
	joins   []joining   // of the last request
	ending  *ending     // of the last request
	ids     map[string]*transactional
	topics  map[string][16]byte // ids of the input topics
	holds   map[verify.Partition]hold
	// generation whose assignments were taken over
	generation int32
	beaten     map[string]*beaten // members of the consumer protocol, by their ids
	problem    error
	operator   bool // commits without a member are an operator's
}

// appending is a batch that the broker may append.
type appending struct {
	p       verify.Partition
	topicID [16]byte
	end     int64 // high watermark before
	bytes   int64 // in the log before
	size    int64 // of the batch
	records []*kgo.Record
	id      string // transactional; "": none
	by      producer
	at      time.Time
}

// committing is a commit request that the broker may apply.
type committing struct {
	request *verify.Request
	commits []verify.Commit
	at      time.Time
}

// New begins to watch. Call it before the first request that matters; a Settle at the end sees the
// last one.
func New(cluster *kfake.Cluster, checker *verify.Checker, cfg Config) *Watch {
	w := newWatch(cluster, checker, cfg)
	// Key −1 runs after the control functions of a key: what a test's own control answers never
	// reaches the broker, nor this one.
	cluster.ControlKey(-1, func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.observe(req)
		return nil, nil, false
	})
	return w
}

func newWatch(cluster *kfake.Cluster, checker *verify.Checker, cfg Config) *Watch {
	return &Watch{cluster: cluster, checker: checker, cfg: cfg, unzip: kgo.DefaultDecompressor(), holds: make(map[verify.Partition]hold), beaten: make(map[string]*beaten),
		topics: make(map[string][16]byte), ids: make(map[string]*transactional)}
}

// Settle feeds the effect of the last request, if it has one yet. Do not call it after the cluster
// is closed, nor from its control functions.
func (w *Watch) Settle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle(false)
	w.refresh()
}

// AsOperator runs fn, whose commits without a member reset the group's offsets by intent. They must
// succeed.
func (w *Watch) AsOperator(fn func()) {
	set := func(operator bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.operator = operator
	}
	set(true)
	defer set(false)
	fn()
}

// Err tells about something that this observer does not understand: then the checker's verdict is
// worth nothing.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problem
}

// observe runs on the cluster's behalf, before it handles the request; the request before it is
// handled wholly.
func (w *Watch) observe(req kmsg.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle(true)
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		w.produce(req)
	case *kmsg.OffsetCommitRequest:
		if req.Group == w.cfg.Group {
			w.refresh()
			w.commit(req)
		}
	case *kmsg.TxnOffsetCommitRequest:
		if req.Group == w.cfg.Group {
			w.refresh()
			w.offsets(req)
		}
	case *kmsg.InitProducerIDRequest:
		w.initialize(req)
	case *kmsg.EndTxnRequest:
		w.end(req)
	case *kmsg.JoinGroupRequest:
		if req.Group == w.cfg.Group {
			w.refresh()
			w.rejoin(req)
		}
	case *kmsg.LeaveGroupRequest:
		w.refresh()
		if req.Group == w.cfg.Group {
			w.leave(req)
		}
	case *kmsg.OffsetFetchRequest:
		if readsAll(req, w.cfg.Group) {
			w.checker.OffsetsRead()
		}
	case *kmsg.ConsumerGroupHeartbeatRequest:
		w.refresh()
		if req.Group == w.cfg.Group {
			w.heartbeat(req)
		}
	case *kmsg.SyncGroupRequest, *kmsg.HeartbeatRequest:
		w.refresh()
	}
}

// readsAll tells whether a request reads all offsets of a group, as a will does.
func readsAll(req *kmsg.OffsetFetchRequest, group string) bool {
	if req.Group == group && req.Topics == nil {
		return true
	}
	return slices.ContainsFunc(req.Groups, func(g kmsg.OffsetFetchRequestGroup) bool { return g.Group == group && g.Topics == nil })
}

func (w *Watch) fail(err error) { w.problem = errors.Join(w.problem, err) }

// settle feeds what the last request did. handled tells that it is known to be over: then what it
// has not done it never will.
//
// Settle does not know that: the broker answers questions also between the end of a control
// function and the request's handling. A batch dropped there as refused would be missed, and every
// commit over it called premature. So whatever had no effect stays for the next request to find. No
// further request can begin meanwhile, because observe waits for mu.
func (w *Watch) settle(handled bool) {
	w.appends = slices.DeleteFunc(w.appends, func(a appending) bool { return w.appended(a) || handled })
	if w.ending != nil && (w.ended(w.ending, handled) || handled) {
		w.ending = nil
	}
	w.expire()
	if len(w.appends) == 0 && w.ending == nil {
		w.checker.Settle()
	}
	if w.commits != nil {
		switch {
		case w.committed(w.commits):
			w.commits = nil
		case handled:
			w.checker.CommitRefused(w.commits.commits...)
			w.commits = nil
		}
	}
	w.leaves = slices.DeleteFunc(w.leaves, func(l leaving) bool { return w.left(l) || handled && !l.forNow })
	w.joins = slices.DeleteFunc(w.joins, func(j joining) bool { return w.joined(j) || handled })
}

func (w *Watch) produce(req *kmsg.ProduceRequest) {
	w.sameTopics()
	for _, t := range req.Topics {
		topic := w.topicName(t.Topic, t.TopicID)
		if !slices.Contains(w.cfg.Inputs, topic) && !slices.Contains(w.cfg.Outputs, topic) && !slices.Contains(w.cfg.DeadLetters, topic) {
			continue
		}
		for _, p := range t.Partitions {
			info := w.cluster.PartitionInfo(topic, p.Partition)
			if info == nil {
				continue // the broker will refuse it
			}
			records := w.decode(topic, p)
			a := appending{
				p: verify.Partition{Topic: topic, Partition: p.Partition}, topicID: w.idOf(topic), end: info.HighWatermark, bytes: info.NumBytes,
				size: int64(len(p.Records)), records: records, at: time.Now(),
			}
			if req.TransactionID != nil && len(records) > 0 {
				a.id, a.by = *req.TransactionID, producer{records[0].ProducerID, records[0].ProducerEpoch}
			}
			w.appends = append(w.appends, a)
		}
	}
}

func (w *Watch) topicName(name string, id [16]byte) string {
	if name != "" {
		return name
	}
	if info := w.cluster.TopicIDInfo(id); info != nil {
		return info.Topic
	}
	return ""
}

// decode reads a batch as a consumer would. What it cannot read the broker will refuse, too, or
// settle will not understand.
func (w *Watch) decode(topic string, p kmsg.ProduceRequestTopicPartition) []*kgo.Record {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.Partition, rp.RecordBatches = p.Partition, p.Records
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: topic, Partition: p.Partition}, &rp, w.unzip, nil)
	return fp.Records
}

// appended feeds a batch if the high watermark says that it is in the log. A batch that is not is
// refused, or a repetition that the broker recognised by its sequence number and did not append
// again.
func (w *Watch) appended(a appending) bool {
	info := w.cluster.PartitionInfo(a.p.Topic, a.p.Partition)
	if info == nil || info.HighWatermark == a.end || w.idOf(a.p.Topic) != a.topicID {
		return false
	}
	if !w.grew(a, info.HighWatermark-a.end, info.NumBytes-a.bytes) {
		return false
	}
	w.feed(a)
	return true
}

func (w *Watch) commit(req *kmsg.OffsetCommitRequest) {
	w.sameTopics()
	if w.operator && req.MemberID == "" {
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				w.checker.Reset(verify.Partition{Topic: w.topicName(t.Topic, t.TopicID), Partition: p.Partition}, p.Offset)
			}
		}
		return
	}
	c := &committing{at: time.Now()}
	for _, t := range req.Topics {
		topic := w.topicName(t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			c.commits = append(c.commits, w.read(committer{req.MemberID, req.Generation, req.InstanceID}, topic, said{p.Partition, p.Offset, p.LeaderEpoch, p.Metadata}))
		}
	}
	if !w.memberMayCommit(req.Group, req.MemberID, req.Generation) {
		w.checker.CommitRefused(c.commits...)
		return
	}
	c.request = w.checker.Requested(c.commits...)
	w.commits = c
}

// committer is who commits, and said what it says about a partition: plainly or in a transaction.
type committer struct {
	member     string
	generation int32
	instance   *string
}

type said struct {
	partition   int32
	offset      int64
	leaderEpoch int32
	metadata    *string
}

// read decodes what a commit says about one partition.
func (w *Watch) read(by committer, topic string, p said) verify.Commit {
	commit := verify.Commit{
		Member: by.member, Generation: by.generation, Partition: verify.Partition{Topic: topic, Partition: p.partition},
		Offset: p.offset, LeaderEpoch: p.leaderEpoch,
	}
	if by.instance != nil {
		commit.Instance = *by.instance
	}
	if info := w.cluster.PartitionInfo(topic, p.partition); info != nil {
		commit.LogEnd = info.HighWatermark
	}
	if p.metadata == nil {
		return commit
	}
	commit.Metadata = *p.metadata
	set, err := donemeta.Parse(commit.Metadata, donemeta.Binding{TopicID: w.idOf(topic), Base: p.offset, LeaderEpoch: p.leaderEpoch}, nil)
	switch {
	case err == nil:
		commit.Set = set
	case !errors.Is(err, donemeta.ErrNotOurs):
		commit.SetError = err
	}
	return commit
}

func (w *Watch) idOf(topic string) [16]byte {
	if info := w.cluster.TopicInfo(topic); info != nil {
		return info.TopicID
	}
	return [16]byte{}
}

// sameTopics notices an input topic that was deleted and created again.
func (w *Watch) sameTopics() {
	for _, topic := range w.cfg.Inputs {
		id := w.idOf(topic)
		if id == ([16]byte{}) {
			continue
		}
		if before, known := w.topics[topic]; known && before != id {
			w.checker.Recreated(topic)
		}
		w.topics[topic] = id
	}
}

// left feeds a leave that the broker carried out.
func (w *Watch) left(l leaving) bool {
	g := w.cluster.GroupInfo(w.cfg.Group)
	if g == nil || isMember(g, l.member) {
		return false
	}
	w.checker.Left(l.member, l.byWill)
	return true
}

// committed feeds the commits that are in the group's state now, and tells whether there are any.
func (w *Watch) committed(c *committing) bool {
	inGroup := w.inGroup(c.at)
	var applied []int
	for i, commit := range c.commits {
		if inGroup(commit) {
			applied = append(applied, i)
		}
	}
	if len(applied) > 0 {
		c.request.Accepted(applied...)
	}
	return len(applied) > 0
}
