package producer

import (
	"fmt"
	"strings"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// Codes of Ackmark's own in [Error.Code], beside Kafka's error names. docs/errors.md says what to
// do about each.
const (
	// CodeInvalidRecord: a field of the record is missing or out of range; nothing was taken.
	CodeInvalidRecord = wire.CodeInvalidRecord
	// CodeUnitTooLarge: a unit has more than [MaxUnitOutputs] outputs or [MaxUnitHeaders] headers.
	// That unit fails alone; others go on.
	CodeUnitTooLarge = wire.CodeUnitTooLarge
	// CodeFull: the producer, or its sidecar, is full and refuses instead of waiting.
	CodeFull = wire.CodeFull
	// CodeClosed: the producer was closed before the record was delivered.
	CodeClosed = wire.CodeClosed
	// CodeReleased: the unit's assignment epoch was released, its partition belongs to somebody
	// else.
	CodeReleased = wire.CodeReleased
	// CodeNoRoom: the unit's input is further above its partition's ack mark than the sidecar has
	// room for. The partition has to be taken up anew, see consumer.Consumer.Renew.
	CodeNoRoom = wire.CodeNoRoom
	// CodeUnknownAssignment: the unit's assignment epoch was never announced by Assign.
	CodeUnknownAssignment = wire.CodeUnknownAssignment
	// CodeSessionFenced: the sidecar took this process for dead and closed its session; the
	// partitions of its inputs have left it. Retryable for what has no input.
	CodeSessionFenced = wire.CodeSessionFenced
	// CodeTopicNotAllowed: the sidecar's list of apps does not let this one write to the topic.
	CodeTopicNotAllowed = wire.CodeTopicNotAllowed
	// CodeTooManyTopics: more topics were named than a sidecar remembers.
	CodeTooManyTopics = wire.CodeTooManyTopics
	// CodeDraining: the sidecar is about to stop.
	CodeDraining = wire.CodeDraining
	// CodeExpired: a unit came too late to the sidecar, and had not been begun.
	CodeExpired = wire.CodeExpired
	// CodeDelivery: a failure for which Kafka has no name.
	CodeDelivery = wire.CodeDelivery
	// CodeUnauthorized: the sidecar does not accept the app, its token, its user or its group.
	CodeUnauthorized = wire.CodeUnauthorized
	// CodeVersionMismatch: the sidecar speaks another major version of the protocol.
	CodeVersionMismatch = wire.CodeVersionMismatch
	// CodeMemberFenced: the group does not know the member any more that held the partition of the
	// unit's input: its next owner reads the input.
	CodeMemberFenced = wire.CodeMemberFenced
	// CodeTransactionTaken: another process uses the transactional id, and has ended this one's
	// part; or the id has expired, and one may have used it since.
	CodeTransactionTaken = wire.CodeTransactionTaken
	// CodeInvalidConfig: the producer's configuration is invalid; it can never deliver.
	CodeInvalidConfig = wire.CodeInvalidConfig
)

var (
	// ErrClosed is the cause when the producer was closed.
	ErrClosed = unit.ErrClosed
	// ErrFull is the cause when the producer is full and configured to refuse instead of to wait.
	ErrFull = unit.ErrFull
)

// ConfigError names a field of a configuration that is wrong, an option of the Kafka client among
// them, and says what to do. It is the cause of an [Error] with [CodeInvalidConfig], joined with
// others where several fields are wrong.
type ConfigError = ackmark.ConfigError

// Error is the fate of a unit or record that was not delivered.
type Error struct {
	// Code is Kafka's error name (MESSAGE_TOO_LARGE, UNKNOWN_TOPIC_OR_PARTITION …) or one of
	// Ackmark's ([CodeFull] …), for metrics and branching.
	Code string
	// Message says what happened and what to do.
	Message string
	// Retryable tells that the same record may succeed later without any change to it.
	Retryable bool
	// Topic and Partition name the output; Partition is -1 when it is not known.
	Topic     string
	Partition int32
	// Output is the index of the output in its unit.
	Output int
	// Err is the cause, if there is one. Where it is nil and Code is Kafka's, errors.Is(err,
	// kerr.MessageTooLarge) works all the same.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("producer: ")
	b.WriteString(e.Code)
	if e.Topic != "" {
		fmt.Fprintf(&b, " for topic %q", e.Topic)
		if e.Partition >= 0 {
			fmt.Fprintf(&b, " partition %d", e.Partition)
		}
	}
	if e.Message != "" {
		b.WriteString(": ")
		b.WriteString(e.Message)
	}
	return b.String()
}

// Unwrap returns the cause: Err, or Kafka's error of the name in Code. The sidecar's reports carry
// names, so that errors.Is tells the same whichever form delivers.
func (e *Error) Unwrap() error {
	if e.Err == nil {
		if ke := kafkaErrors()[e.Code]; ke != nil {
			return ke
		}
	}
	return e.Err
}
