package consumer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Assignment is one stay of a partition with this member: its assignment epoch.
type Assignment struct {
	Topic       string
	TopicID     [16]byte
	Partition   int32
	LeaderEpoch int32
	// Epoch is unique in this process, increasing, never zero.
	Epoch uint64
	// Start is the offset that this stay starts from.
	Start int64

	part *partition
}

// Context is what handlers of this partition run under. It ends with cause ErrRevoked, ErrLost or ErrShutdown.
func (a *Assignment) Context() context.Context { return a.part.ctx }

// Membership is the group membership that assignments are held under.
type Membership struct {
	Group      string
	MemberID   string
	Generation int32
	InstanceID string
}

// Message is one input. The first [Message.Done] wins; it may come from any goroutine.
type Message struct {
	*kgo.Record

	part  *partition
	index uint64
}

// Batch is a run of inputs of one partition in fetch order.
type Batch struct {
	*Assignment
	Messages []Message
}

// Index is the input's position in fetch order within its assignment epoch: 0, 1, 2 … without gaps.
func (m *Message) Index() uint64 { return m.index }

// Assignment returns the stay of the partition that the input was fetched in.
func (m *Message) Assignment() *Assignment { return m.part.assignment }

// Start tells that a handler takes the input now. False: its partition was revoked, lost or halted meanwhile, and the input must be dropped.
// Inputs that were not started are not waited for when the partition is revoked. [Consumer.Messages] and [Consumer.Batches] call it themselves.
func (m *Message) Start() bool { panic("skeleton") }

// Done ends the input. With nil it is done: all that was made from it is durable, its offset may be committed. With an error it is not:
// its partition halts, nothing after it is committed, and the error is shown by State and Check and yielded once by the iterators.
// The first call wins; further calls, and calls after the partition was revoked, change nothing.
func (m *Message) Done(err error) { panic("skeleton") }

// DoneAll is Done(nil) for many inputs, of any partitions: runs of the same partition cost one lock.
func DoneAll(ms []*Message) { panic("skeleton") }
