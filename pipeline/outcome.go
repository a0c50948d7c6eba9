package pipeline

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/ackmark/ackmark/consumer"
)

// ErrHandlerTimeout is the cause that a handler's context ends with after [Config.HandlerTimeout],
// and is in the error of that attempt.
var ErrHandlerTimeout = errors.New("pipeline: the handler ran longer than HandlerTimeout")

type rejectError struct{ err error }

func (e *rejectError) Error() string { return e.err.Error() }
func (e *rejectError) Unwrap() error { return e.err }

// Reject marks an error that no retry cures: the input goes to the dead-letter topic at once, or
// halts its partition where there is none.
func Reject(err error) error { return &rejectError{orUnknown(err)} }

type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// Fatal marks an error that concerns the whole service (a missing table, a bug): the pipeline
// drains, commits what is done, leaves the group, and Run returns a [FatalError]. The input stays
// uncommitted.
func Fatal(err error) error { return &fatalError{orUnknown(err)} }

type retryError struct {
	err   error
	after time.Duration
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// Retry asks for another attempt after the given time (a server's Retry-After, a lock that somebody
// holds). It does not count towards MaxAttempts: the handler decides when it has had enough, with
// [Reject]. The lane waits meanwhile.
func Retry(err error, after time.Duration) error {
	return &retryError{orUnknown(err), max(after, 0)}
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no reason given (nil error)")
	}
	return err
}

// PanicError is a panic of a handler, as an error.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("pipeline: the handler panicked: %v", e.Value)
}

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func newPanicError(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }

// Input names an input in an error. Its text has no key: that is for the program.
type Input struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte
}

func inputOf(m *consumer.Message) Input {
	came := m.Original()
	return Input{Topic: came.Topic, Partition: came.Partition, Offset: came.Offset, Key: m.Key}
}

// String has no key: it goes into logs, and with errors into what an admin port shows.
func (in Input) String() string {
	return fmt.Sprintf("topic %s partition %d offset %d", in.Topic, in.Partition, in.Offset)
}

// FatalError stops the pipeline. Err is what the handler gave to [Fatal], or an error of delivery
// that concerns every input.
type FatalError struct {
	Input Input
	Err   error
}

func (e *FatalError) Error() string {
	return fmt.Sprintf("pipeline: stopped at %s: %v", e.Input, e.Err)
}
func (e *FatalError) Unwrap() error { return e.Err }

// StuckError stops the pipeline: a handler ran longer than HandlerTimeout and ignored for
// HandlerGrace that its context was cancelled. Its goroutine is left behind: end the process.
type StuckError struct {
	Input Input
	// Running is how long the handler has run.
	Running time.Duration
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("pipeline: the handler of %s has run for %s and ignores that its context was cancelled: "+
		"its goroutine is left behind, end the process; make the handler honour its context, or raise HandlerTimeout if it needs that long", e.Input, e.Running.Round(time.Millisecond))
}

// ResultCountError stops the pipeline: a batch handler did not return one result for each input.
type ResultCountError struct {
	First           Input
	Inputs, Results int
}

func (e *ResultCountError) Error() string {
	return fmt.Sprintf("pipeline: the batch handler got %d inputs (from %s on) and returned %d results: "+
		"it must return exactly one for each, at the same index", e.Inputs, e.First, e.Results)
}

// RejectedError is why a partition halted at a rejected input: there is no dead-letter topic, or
// the dead letter could not be written.
type RejectedError struct {
	Input    Input
	Attempts int
	// Err is why the input was rejected.
	Err error
	// DeadLetter is why its dead letter was not written; nil: there is no dead-letter topic.
	DeadLetter error
}

func (e *RejectedError) Error() string {
	if e.DeadLetter != nil {
		return fmt.Sprintf("pipeline: %s was rejected after %s (%v) and its dead letter could not be written: %v",
			e.Input, attempts(e.Attempts), e.Err, e.DeadLetter)
	}
	return fmt.Sprintf("pipeline: %s was rejected after %s and there is no dead-letter topic (set Config.DeadLetter.Topic): %v",
		e.Input, attempts(e.Attempts), e.Err)
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

func (e *RejectedError) Unwrap() []error {
	if e.DeadLetter != nil {
		return []error{e.Err, e.DeadLetter}
	}
	return []error{e.Err}
}

// class is what an error of a handler asks for.
type class uint8

const (
	classPlain class = iota
	classRetry
	classReject
	classFatal
)

// classify looks through wrapped errors; where several marks are found the graver wins.
func classify(err error) (class, time.Duration) {
	if _, ok := errors.AsType[*fatalError](err); ok {
		return classFatal, 0
	}
	if _, ok := errors.AsType[*ResultCountError](err); ok {
		return classFatal, 0
	}
	if _, ok := errors.AsType[*rejectError](err); ok {
		return classReject, 0
	}
	if r, ok := errors.AsType[*retryError](err); ok {
		return classRetry, r.after
	}
	return classPlain, 0
}
