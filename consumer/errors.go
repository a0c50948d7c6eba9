package consumer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Causes that the context of an [Assignment] ends with. None of them is an outcome of an input:
// what was not done is done again elsewhere.
var (
	// ErrRevoked: the group gave the partition to another member.
	ErrRevoked = errors.New("consumer: partition revoked")
	// ErrLost: the membership was lost (session timeout, fencing); another member may hold the
	// partition already.
	ErrLost = errors.New("consumer: partition lost")
	// ErrShutdown: the consumer stops.
	ErrShutdown = errors.New("consumer: shutting down")
)

// ErrNoDrain tells [Consumer.Run] not to wait for the inputs that were started, because none of
// them can be done any more, as when the producer is refused for good. Cancel Run's context with a
// cause that wraps it (see [context.WithCancelCause]). What is done is committed, the group is
// left.
var ErrNoDrain = errors.New("consumer: nothing that was started can be done any more")

// States that a call can find the consumer in.
var (
	// ErrClosed: the consumer was closed.
	ErrClosed = errors.New("consumer: closed")
	// ErrAlreadyRun: a consumer runs once. Make a new one with New.
	ErrAlreadyRun = errors.New("consumer: Run, Messages or Batches was called before: a Consumer runs once, make a new one with New")
	// ErrNotRunning: neither Run, Messages nor Batches was called yet.
	ErrNotRunning = errors.New("consumer: not running: call Run, Messages or Batches")
	// ErrNotHalted: the partition is not held, or not halted. It may have moved to another member,
	// which begins it anew.
	ErrNotHalted = errors.New("consumer: the partition is not halted here")
	// ErrNotJoined: the group was not joined yet.
	ErrNotJoined = errors.New("consumer: not a member of the group yet")
)

// HaltError tells why a partition stands still. Its inputs from Offset on are not done and are
// never skipped; other partitions go on.
type HaltError struct {
	Topic     string
	Partition int32
	// Offset is the input that could not be done, or the first one that cannot be read.
	Offset int64
	// LostFrom and LostTo name the offsets [LostFrom, LostTo) that the broker does not have any
	// more; both -1 when nothing was lost.
	LostFrom, LostTo int64
	// Err is the reason: an error given to Done, or Kafka's.
	Err error
	// Remedy says what to do.
	Remedy string
}

func (e *HaltError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "consumer: topic %s partition %d halted at offset %d: %v", e.Topic, e.Partition, e.Offset, e.Err)
	if e.LostFrom >= 0 && e.LostTo > e.LostFrom {
		fmt.Fprintf(&b, "; offsets %d to %d are lost", e.LostFrom, e.LostTo-1)
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

func (e *HaltError) Unwrap() error { return e.Err }

// StuckError stops the consumer: an input's handler ran longer than HandlerTimeout and ignored that
// its context was cancelled. It is also the cause that context ended with.
type StuckError struct {
	Topic     string
	Partition int32
	Offset    int64
	Running   time.Duration
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("consumer: %s partition %d offset %d was handed out %s ago and is not done: its handler hangs, or forgot Done; "+
		"raise HandlerTimeout if it needs that long", e.Topic, e.Partition, e.Offset, e.Running.Round(time.Millisecond))
}

// Abandoned is what one partition was left with at a drain deadline.
type Abandoned struct {
	Topic     string
	Partition int32
	// Count of inputs that were started and not done; First is the lowest of their offsets.
	Count int
	First int64
}

// AbandonedError is returned by Run and Close when the drain deadline passed, or nothing could be
// done any more ([ErrNoDrain]): these inputs were started and not done. They are not committed, and
// handed out again by the next member that holds their partition.
type AbandonedError struct {
	Partitions []Abandoned
	After      time.Duration
}

func (e *AbandonedError) Error() string {
	total := 0
	parts := make([]string, 0, len(e.Partitions))
	for _, a := range e.Partitions {
		total += a.Count
		parts = append(parts, fmt.Sprintf("%s/%d: %d from offset %d", a.Topic, a.Partition, a.Count, a.First))
	}
	slices.Sort(parts)
	return fmt.Sprintf("consumer: %d inputs were started and not done when the drain ended after %s (%s): they stay uncommitted and are handed out again",
		total, e.After, strings.Join(parts, ", "))
}

// UncommittedError is returned by Run and Close when the last commit failed: what was done since
// the one before is handed out again.
type UncommittedError struct {
	Group string
	Err   error
}

func (e *UncommittedError) Error() string {
	return fmt.Sprintf("consumer: group %q: the last commit failed, what was done since the one before is handed out again: %v", e.Group, e.Err)
}

func (e *UncommittedError) Unwrap() error { return e.Err }

// LeaveError is returned by Run and Close when the group refused the leave: the partitions wait for
// the session timeout. A leave that is not answered in time, as while others join, is logged only.
type LeaveError struct {
	Group string
	Err   error
}

func (e *LeaveError) Error() string {
	return fmt.Sprintf("consumer: group %q could not be left, its partitions wait for the session timeout: %v", e.Group, e.Err)
}

func (e *LeaveError) Unwrap() error { return e.Err }

// ConfigError names a field of a configuration that is wrong, an option of the Kafka client among
// them, and says what to do. Where several are wrong, they are joined.
type ConfigError = ackmark.ConfigError

// StartError is returned by Run when the consumer could not begin within StartTimeout: it says what
// was tried.
type StartError struct {
	After time.Duration
	Err   error
}

func (e *StartError) Error() string {
	return fmt.Sprintf("consumer: could not start within %s: %v", e.After, e.Err)
}

func (e *StartError) Unwrap() error { return e.Err }

// GroupError stops the consumer: the group coordinator refuses this member for good.
type GroupError struct {
	Group  string
	Err    error
	Remedy string
}

func (e *GroupError) Error() string {
	return fmt.Sprintf("consumer: group %q: %v; %s", e.Group, e.Err, e.Remedy)
}

func (e *GroupError) Unwrap() error { return e.Err }

// groupError says what to do about a coordinator that refuses the member.
func (cfg *Config) groupError(err error) *GroupError {
	remedy := groupcommit.Remedy(err, groupcommit.Who{
		InstanceID: cfg.InstanceID, SessionTimeout: cfg.SessionTimeout, Credentials: "Config.Options",
	})
	return &GroupError{Group: cfg.Group, Err: err, Remedy: remedy}
}
