package demo

import (
	"fmt"
	"time"
)

// LostError is the verdict that Ackmark broke its promise.
type LostError struct{ Lost, Altered, Reordered int }

// Error implements error.
func (e *LostError) Error() string {
	return fmt.Sprintf("Ackmark lost %d inputs, altered %d and reordered %d: this is a bug; run again with the printed --seed and --verbose, and report it", e.Lost, e.Altered, e.Reordered)
}

// NotOnceError is the verdict that a reader of committed records saw something else than every
// output once.
type NotOnceError struct{ Lost, Duplicated, Altered, Reordered int }

// Error implements error.
func (e *NotOnceError) Error() string {
	return fmt.Sprintf("exactly-once lost %d inputs, repeated %d, altered %d and reordered %d: this is a bug; run again with the printed --seed and --verbose, and report it",
		e.Lost, e.Duplicated, e.Altered, e.Reordered)
}

// UnfinishedError is the verdict that Ackmark stood still: nothing is lost, these inputs are not
// committed.
type UnfinishedError struct {
	Inputs int
	Idle   time.Duration // in which nothing was committed
}

// Error implements error.
func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("Ackmark lost nothing, but left %d inputs, and committed none for %s: run again with --verbose to see what the processes say", e.Inputs, e.Idle)
}
