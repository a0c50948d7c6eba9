// Package producer delivers outputs to Kafka and reports their fate.
//
// Every form of it, the sidecar client ([Dial]) and the process's own Kafka producer ([Direct]), is
// a [Producer]. Package producertest has a fake one for tests, and the conformance suite that each
// of them passes, one of your own too.
package producer

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Header is a record header, as Kafka has it.
type Header = kgo.RecordHeader

// Record is one output. The producer reads Key, Value and Headers until the record's fate is
// reported: do not change them before.
type Record struct {
	// Topic is required.
	Topic string
	// Key chooses the partition (murmur2, as the Java client does) unless Partition is set.
	Key   []byte
	Value []byte
	// Headers travel unchanged.
	Headers []Header
	// Timestamp is the record's create time, in milliseconds; zero means the time of delivery. It
	// may lie before 1970, within the years 1677 to 2262: beyond them the unit fails with
	// INVALID_RECORD_FIELD.
	Timestamp time.Time
	// Partition, if not nil, is the partition to write to.
	Partition *int32
}

// Ack tells where an acknowledged record is.
type Ack struct {
	Topic string
	// Partition and Offset are -1 if the form does not learn them: the sidecar reports ranges of
	// units, not places.
	Partition int32
	Offset    int64
}

// Source names the input that a unit was made from.
type Source struct {
	// Epoch is the assignment epoch of the input's partition, as announced by [Producer.Assign].
	// Zero: the unit has no input.
	Epoch uint64
	// Index is the input's position in fetch order within the epoch: 0, 1, 2 … without gaps,
	// whatever the offsets do.
	Index uint64
	// Offset is the input's offset.
	Offset int64
}

// Unit is one input with all its outputs, zero or more.
type Unit struct {
	Source  Source
	Outputs []Record
}

// Reporter learns the fate of the units of one [Producer.Deliver] call. Each unit is reported
// exactly once, as acked or as failed. Calls come from the producer's goroutines, possibly
// concurrently and before Deliver has returned; they must not block.
type Reporter interface {
	// Acked tells that the units [first, first+n) of the call are done: every output of theirs is
	// in Kafka with acks=all.
	Acked(first, n int)
	// Failed tells that the unit at this index will not be delivered: nothing below retries it any
	// more. Its other outputs may be in Kafka. Its source may be delivered again with other outputs
	// (a dead letter).
	Failed(unit int, err *Error)
}

// Assignment announces a partition that this process holds, before the first unit made from it.
type Assignment struct {
	// Epoch is unique in this process, increasing, never zero: it is that of one assignment of one
	// partition.
	Epoch uint64
	Topic string
	// TopicID is Kafka's topic id; zero when the brokers are too old to have one. A [Committer]
	// needs it from CommitUnits on: what is done above the committed offset is bound to it.
	TopicID     [16]byte
	Partition   int32
	LeaderEpoch int32
	// Start is the offset that the assignment starts from.
	Start int64
	// DoneSet is the commit metadata that the assignment began from, "" for none: inputs beyond
	// Start that are done and are not delivered here. Who commits for this process must not forget
	// them.
	DoneSet string
	// Progress tells where the assignment is now. It is asked when a sidecar is told of the
	// assignment that did not see its beginning; it must not call the producer, and must count
	// every unit that was reported as acked: one that is in neither is never done for that sidecar.
	// Nil: such a sidecar cannot commit for this process.
	Progress func() Progress
}

// Protocol is how a member takes part in its group: Kafka's group.protocol.
type Protocol = groupcommit.Protocol

// What the Protocol of a Membership can be. The zero Protocol means ClassicProtocol.
const (
	ClassicProtocol  = groupcommit.Classic
	ConsumerProtocol = groupcommit.Consumer // KIP-848
)

// Membership is the group membership that assignments are held under. The generation changes at
// every rebalance, also for partitions that stay. In the ConsumerProtocol it is the member's epoch:
// say it as soon as it changes, since a will is refused under an epoch that is too old.
type Membership struct {
	Group      string
	MemberID   string
	Generation int32
	InstanceID string
	Protocol   Protocol
	// ClusterID is that of the Kafka cluster that the group is in, "" if it is not known. A sidecar
	// that delivers to another one cannot commit for this process when it dies, and says so.
	ClusterID string
	// Consumer tells the consumers of this process apart that are members of one group and share
	// this producer: each has a membership of its own. 0 is fine for the only one.
	Consumer uint64
}

// Producer delivers units. All methods are safe for concurrent use. A Producer connects on first
// use and is closed by its owner.
type Producer interface {
	// Deliver takes over all units, in order, or none. It blocks while the producer is full (see
	// the credit and buffer settings of each form) and returns an error only if it took none: the
	// context ended, the producer is closed, or an output is invalid ([*Error], naming it). Units
	// delivered by one goroutine for the same key are written in that order. The producer owns
	// units, and what they point to, until each is reported. A unit without outputs is reported as
	// acked.
	Deliver(ctx context.Context, units []Unit, r Reporter) error
	// Emit writes one record and waits until Kafka has it. The error is an [*Error] or the
	// context's cause; a context that ends while the record is on its way does not take it back.
	Emit(ctx context.Context, rec Record) (Ack, error)
	// EmitAsync queues one record; fn (not nil) is called exactly once with its fate and must not
	// block. It blocks while the producer is full, or fails at once with ErrFull, by the producer's
	// configuration.
	EmitAsync(rec Record, fn func(Ack, error))
	// Assign announces the membership and the partitions added by a rebalance, before the first
	// unit under them. added may be empty: then only the membership changed. An empty MemberID
	// tells that the consumer has left its group. Forms that do not commit for their peers ignore
	// it.
	Assign(ctx context.Context, m Membership, added []Assignment) error
	// Release tells that the partitions of these epochs leave this process. It returns when their
	// units are finished or dropped, or with the context's cause. It must return before the revoke
	// callback does.
	Release(ctx context.Context, epochs []uint64) error
	// Flush waits until everything accepted before the call is reported.
	Flush(ctx context.Context) error
	// Check tells whether the producer can deliver now: nil, or what is wrong and what to do.
	Check(ctx context.Context) error
	// Close flushes for at most the configured time, then releases everything. What was not
	// delivered is reported as failed with ErrClosed and counted in the returned error. A second
	// Close does nothing.
	Close() error
}
