package unit

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/ackmark/ackmark/internal/wire"
)

// Causes of errors.
var (
	ErrClosed = errors.New("producer: closed")
	ErrFull   = errors.New("producer: full")
)

// Error is a producer.Error.
type Error struct {
	Code      string
	Message   string
	Retryable bool
	Topic     string
	Partition int32
	Output    int
	Err       error
}

// In says of which output of which unit of a call the error is.
func (e *Error) In(unit, output int) *Error {
	e.Output = output
	e.Message = "unit " + strconv.Itoa(unit) + ", output " + strconv.Itoa(output) + ": " + e.Message
	return e
}

// Closed is the error of what comes to a closed producer, or is left when one is closed.
func Closed() *Error {
	return &Error{Code: wire.CodeClosed, Partition: -1, Message: "the producer was closed", Err: ErrClosed}
}

// Full is the error of a call that a full producer refuses.
func Full(what string) *Error {
	return &Error{Code: wire.CodeFull, Partition: -1, Retryable: wire.CodeOf(wire.CodeFull).Retryable, Err: ErrFull,
		Message: what + ": try again when records were acknowledged, raise the limits, or use OnFull: Block"}
}

// Released is the error of a unit whose assignment epoch was released.
func Released(epoch uint64) *Error {
	return &Error{Code: wire.CodeReleased, Partition: -1,
		Message: fmt.Sprintf("assignment epoch %d was released: its partition left this process, its inputs are read again by the next owner", epoch)}
}

// UnknownAssignment is the error of a unit whose assignment epoch was never announced.
func UnknownAssignment(epoch uint64) *Error {
	return &Error{Code: wire.CodeUnknownAssignment, Partition: -1,
		Message: fmt.Sprintf("assignment epoch %d was never announced: call Assign before the first unit of a partition", epoch)}
}
