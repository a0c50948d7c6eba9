package consumer

import (
	"context"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Assignment is the time for which this member holds a partition. The next one of the same
// partition is another value, with an epoch of its own.
type Assignment struct {
	Topic       string
	TopicID     [16]byte
	Partition   int32
	LeaderEpoch int32
	// Epoch is unique in this process, increasing, never zero.
	Epoch uint64
	// Start is the offset that it starts from.
	Start int64
	// DoneSet is the metadata that was committed with Start, if it is a done-set of this very
	// commit and topic: which inputs above Start were done before this assignment and are not
	// handed out in it. "" for none.
	DoneSet string
	// Again is why inputs below AgainUntil may be handed out again: this process had them before,
	// in an assignment that ended without its last commit. "" for no such assignment.
	Again      string
	AgainUntil int64

	part *partition
}

// Context is what handlers of this partition run under. It ends with cause [ErrRevoked], [ErrLost],
// [ErrShutdown] or a [*StuckError].
func (a *Assignment) Context() context.Context { return *a.part.ctx.Load() }

// Membership is the group membership that assignments are held under.
type Membership struct {
	Group      string
	MemberID   string
	Generation int32
	InstanceID string
	// ClusterID is that of the Kafka cluster that the group is in, "" if the brokers told none.
	ClusterID string
	// Consumer tells the consumers of this process apart: several may be members of one group.
	// Never 0.
	Consumer uint64
}

// Message is one input. The first [Message.Done] wins; it may come from any goroutine. A copy
// stands for the same input.
type Message struct {
	*kgo.Record

	run   *run
	index uint64
}

// Bits of an input's state.
const (
	started uint32 = 1 << iota // a handler took it
	done                       // Done(nil) won; set under the partition's lock
	failed                     // Done(err) won; set under the partition's lock
	awaited                    // the drain that runs waits for it; set under the partition's lock
)

// Batch is a run of inputs of one partition in fetch order.
type Batch struct {
	*Assignment
	Messages []Message
}

// run is a batch with its share of the memory budget, which comes free when all of its inputs are
// done: that is when its memory does.
type run struct {
	Batch
	part  *partition
	first uint64 // index of Messages[0]; the others follow without gaps
	// states of Messages, see started …; atomic. They are not in Message, so that a message can be
	// copied at any time.
	states []uint32
	left   int // inputs that are not done; under the partition's lock
	bytes  int64
	at     int64 // when it was handed out, as the consumer's monotonic nanoseconds

	outcome func(error) // of NewMessage; else nil
}

// Index is the input's position in fetch order within its assignment epoch: 0, 1, 2 … without gaps.
// It is the Index of a producer.Source, and exported for the pipeline, and for whoever delivers
// units to a sidecar without one.
func (m *Message) Index() uint64 { return m.index }

// Assignment is what the input was fetched under.
func (m *Message) Assignment() *Assignment { return m.mine().Assignment }

// Context is the context of the input's assignment.
func (m *Message) Context() context.Context { return m.mine().Assignment.Context() }

func (m *Message) state() *uint32 { return &m.run.states[m.index-m.run.first] }

// Start tells that a handler takes the input now. False: its partition was revoked, lost or halted
// meanwhile, and the input must be dropped. Inputs that were not started are not waited for when
// the partition is revoked. [Consumer.Messages] and [Consumer.Batches] call it themselves.
func (m *Message) Start() bool {
	p := m.mine().part
	state := m.state()
	if p.stopped.Load() {
		return false
	}
	if !atomic.CompareAndSwapUint32(state, 0, started) {
		return atomic.LoadUint32(state)&(done|failed) == 0
	}
	// The drain sets stopped and then counts the started ones. Whoever started before that store is
	// seen here or by the count, or by both: without the second look, a start between the first
	// look and the count would run on after the commit.
	if p.stopped.Load() {
		p.unstart(m)
		return false
	}
	return true
}

// Done ends the input. With nil it is done: all that was made from it is durable, its offset may be
// committed. With an error it is not: its partition halts, nothing after it is committed, and the
// error is shown by State and Check and yielded once by the iterators. The first call wins; further
// calls, and calls after the partition was revoked, change nothing.
//
// An error that only says that the context ended, given while the consumer stops or the partition
// leaves, is no outcome and halts nothing.
func (m *Message) Done(err error) {
	p := m.mine().part
	if err != nil {
		p.fail(m, err)
		return
	}
	p.mu.Lock()
	p.finish(m)
	p.mu.Unlock()
}

// DoneAll is Done(nil) for many inputs, of any partitions: runs of the same partition cost one
// lock.
func DoneAll(ms []*Message) {
	for i := 0; i < len(ms); {
		p := ms[i].mine().part
		p.mu.Lock()
		for i < len(ms) && ms[i].run.part == p {
			m, n := ms[i], 1
			for i+n < len(ms) && ms[i+n].run == m.run && ms[i+n].index == m.index+uint64(n) {
				n++
			}
			p.finishRun(m.run, m.index, n)
			i += n
		}
		p.mu.Unlock()
	}
}

// DoneAll is Done(nil) for every input of the batch.
func (b *Batch) DoneAll() {
	if len(b.Messages) == 0 {
		return
	}
	m := &b.Messages[0]
	m.mine().part.mu.Lock()
	m.run.part.finishRun(m.run, m.index, len(b.Messages))
	m.run.part.mu.Unlock()
}
