package consumer

import (
	"context"
	"math"
	"strconv"
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

// DoneInputs is how many inputs of the assignment are done.
func (a *Assignment) DoneInputs() int64 {
	a.part.mu.Lock()
	defer a.part.mu.Unlock()
	return a.part.core.Counts().Done
}

// Membership is the group membership that assignments are held under.
type Membership struct {
	Group      string
	MemberID   string
	Generation int32 // in the ConsumerProtocol, the member's epoch
	InstanceID string
	Protocol   Protocol // never AutoProtocol
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

	run  *run
	at   uint32 // of run.Messages
	skip uint32 // offsets between the run's first input and this one
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
	states  []uint32
	base    int64   // offset of Messages[0]
	offsets []int64 // offsets of Messages, if one is too far from base for its skip; else nil
	left    int     // inputs that are not done; under the partition's lock
	done    int     // inputs at the beginning that are done, as far as firstOpen looked
	begun   int     // … that were started, as far as firstUnstarted looked
	bytes   int64
	at      int64 // when it was handed out, as the consumer's monotonic nanoseconds

	outcome func(error) // of NewMessage; else nil
}

// append adds an input.
func (r *run) append(rec *kgo.Record) {
	at := len(r.Messages)
	if at == 0 {
		r.base = rec.Offset
	}
	skip := rec.Offset - r.base
	if skip > math.MaxUint32 && r.offsets == nil {
		for i := range r.Messages {
			r.offsets = append(r.offsets, r.base+int64(r.Messages[i].skip))
		}
	}
	if r.offsets != nil {
		r.offsets = append(r.offsets, rec.Offset)
	}
	r.Messages = append(r.Messages, Message{Record: rec, run: r, at: uint32(at), skip: uint32(skip)}) //nolint:gosec // offsets has what skip cannot say
}

// Original is where an input was read, whatever its handler made of the record since.
type Original struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Original tells where the input was read. It may be called from any goroutine, also while a
// handler changes the record. Of a Message that no Consumer handed out it is what the record says.
func (m *Message) Original() Original {
	r := m.run
	if r == nil {
		return Original{m.Topic, m.Partition, m.Record.Offset}
	}
	return Original{r.Topic, r.Partition, m.offset()}
}

// ID is the input's name, topic/partition/offset as in orders/3/1042: the same one each time the
// input is handed out, to whichever process. It is the key for what a handler does elsewhere, so
// that doing it again changes nothing. A topic that is deleted and created anew has the same names
// again.
func (m *Message) ID() string {
	o := m.Original()
	id := make([]byte, 0, len(o.Topic)+2+10+20)
	id = append(append(id, o.Topic...), '/')
	id = append(strconv.AppendInt(id, int64(o.Partition), 10), '/')
	return string(strconv.AppendInt(id, o.Offset, 10))
}

// offset is that of the input, whatever its record says now.
func (m *Message) offset() int64 {
	if m.run.offsets != nil {
		return m.run.offsets[m.at]
	}
	return m.run.base + int64(m.skip)
}

func (m *Message) index() uint64 { return m.run.first + uint64(m.at) }

// Index is the input's position in fetch order within its assignment epoch: 0, 1, 2 … without gaps.
// It is the Index of a producer.Source, and exported for the pipeline, and for whoever delivers
// units to a sidecar without one.
func (m *Message) Index() uint64 { return m.index() }

// Assignment is what the input was fetched under.
func (m *Message) Assignment() *Assignment { return m.mine().Assignment }

// Context is the context of the input's assignment.
func (m *Message) Context() context.Context { return m.mine().Assignment.Context() }

func (m *Message) state() *uint32 { return &m.run.states[m.at] }

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
// leaves, is no outcome and halts nothing. Nor is [ErrRevoked], [ErrLost] or [ErrShutdown], at any
// time: the input is given back. It is not done in this assignment, which nobody waits for when the
// partition leaves, and the next one has it again.
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
			for i+n < len(ms) && ms[i+n].run == m.run && ms[i+n].at == m.at+uint32(n) {
				n++
			}
			p.finishRun(m.run, m.index(), n)
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
	m.run.part.finishRun(m.run, m.index(), len(b.Messages))
	m.run.part.mu.Unlock()
}
