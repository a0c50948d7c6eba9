package txn

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Batch is units that came together. Its methods are called from the lane's goroutine (Failed also
// from Push, Dropped also after [Lane.Forget]), one after the other for each unit, and must not
// block. Units are numbered from 0.
type Batch interface {
	// Unit tells what a unit was made from. It may be asked after the unit's fate, too.
	Unit(i int) Unit
	// Produce hands the records of a unit to emit, in order. It may be called again after an abort,
	// when the promises of all records of the call before were called: the records are the same
	// then, and those that name no partition have none again. A record with Partition −1 is given
	// one by its key.
	Produce(i int, emit func(*kgo.Record))
	// Committed tells that the units [from, to) are done: their outputs and their inputs' offsets
	// are committed.
	Committed(from, to int)
	// Failed tells that a unit is not delivered, and nothing of it is visible to a reader of
	// committed records: Kafka refuses a record of it, or the error is one of this package.
	Failed(i int, err error)
	// Dropped tells that the units [from, to) were given up with their assignments.
	Dropped(from, to int)
}

// Following is implemented by batches that want to know when a window closes that has units of
// them: what comes from then on waits for the next one.
type Following interface {
	// Closes is called from the lane's goroutine, and must not block. The window may be aborted,
	// and its units be in another one.
	Closes()
}

// Unit is one input with its outputs, or outputs without an input.
type Unit struct {
	Claim *Claim // nil: there is no input
	Index uint64
	// Crossing: there is no input either, but the claim has passed offsets behind its last one.
	Crossing bool
}

// Run is the units [From, To) of a batch.
type Run struct {
	Batch    Batch
	From, To int
}

// crossing is the batch of a claim that has passed offsets without inputs.
type crossing struct{ claim *Claim }

func (c crossing) Unit(int) Unit                { return Unit{Claim: c.claim, Crossing: true} }
func (crossing) Produce(int, func(*kgo.Record)) {}
func (crossing) Committed(int, int)             {}
func (crossing) Failed(int, error)              {}
func (crossing) Dropped(int, int)               {}

// RecordError is why a unit fails of which Kafka, or its client, refuses a record.
type RecordError struct {
	Output    int // of the unit
	Topic     string
	Partition int32
	Err       error

	alone bool // no other can have failed by it
}

func (e *RecordError) Error() string { return fmt.Sprintf("topic %q: %v", e.Topic, e.Err) }
func (e *RecordError) Unwrap() error { return e.Err }

// MemberError is [ErrMemberGone], and who it was: its consumer may be another member by now.
type MemberError struct {
	MemberID string
	Err      error
}

func (e *MemberError) Error() string   { return fmt.Sprintf("%v: %v", ErrMemberGone, e.Err) }
func (e *MemberError) Unwrap() []error { return []error{ErrMemberGone, e.Err} }

// OffsetError is why the offset of a partition cannot be committed, whatever is tried.
type OffsetError struct {
	Group, Topic string
	Partition    int32
	Err          error
}

func offsetError(st *Claim, err error) *OffsetError {
	return &OffsetError{Group: st.holder.Group, Topic: st.Topic, Partition: st.Partition, Err: err}
}

func (e *OffsetError) Error() string {
	text := fmt.Sprintf("the offset of topic %q partition %d cannot be committed: %v", e.Topic, e.Partition, e.Err)
	switch {
	case errors.Is(e.Err, kerr.GroupAuthorizationFailed):
		return fmt.Sprintf("%s; grant READ on the group %q to the principal that commits", text, e.Group)
	case errors.Is(e.Err, kerr.TopicAuthorizationFailed):
		return fmt.Sprintf("%s; grant READ on the topic %q to the principal that commits", text, e.Topic)
	case errors.Is(e.Err, kerr.OffsetMetadataTooLarge):
		return text + "; " + groupcommit.Remedy(e.Err, groupcommit.Who{})
	}
	return text
}

func (e *OffsetError) Unwrap() error { return e.Err }

// Why a unit fails, or a lane ends, beside Kafka's own errors.
var (
	// ErrTaken: another process uses the transactional id.
	ErrTaken = errors.New("txn: another process took the transactional id")
	// ErrMemberGone: the group does not know the member any more that held the unit's partition.
	ErrMemberGone = errors.New("txn: the group took the partition from its member")
	// ErrNotOpen: the unit's input is done already, or came twice at the same time.
	ErrNotOpen = errors.New("txn: the input is not open")
	// ErrClosed: the lane was closed before the unit was known to be committed.
	ErrClosed = errors.New("txn: closed")
	// ErrSetTooLarge: a done-set does not fit into the metadata of a commit.
	ErrSetTooLarge = errors.New("txn: the done-set does not fit into the metadata of a commit")
)
