package producer

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrClosed is the cause when the producer was closed.
	ErrClosed = errors.New("producer: closed")
	// ErrFull is the cause when the producer is full and configured to refuse instead of to wait.
	ErrFull = errors.New("producer: full")
)

// Error is the fate of a unit or record that was not delivered.
type Error struct {
	// Code is Kafka's error name (MESSAGE_TOO_LARGE, UNKNOWN_TOPIC_OR_PARTITION …) or one of Ackmark's (INVALID_RECORD_FIELD, TOPIC_NOT_ALLOWED,
	// CLOSED, FULL, SESSION_FENCED, UNKNOWN_ASSIGNMENT …), for metrics and branching.
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
	// Err is the cause, if there is one. Where it is nil and Code is Kafka's, errors.Is(err, kerr.MessageTooLarge) works all the same.
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

// Unwrap returns the cause: Err, or Kafka's error of the name in Code. The sidecar's reports carry names, so that errors.Is tells the same
// whichever form delivers.
func (e *Error) Unwrap() error {
	if e.Err == nil {
		if ke := kafkaErrors()[e.Code]; ke != nil {
			return ke
		}
	}
	return e.Err
}
