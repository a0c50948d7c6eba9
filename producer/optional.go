package producer

import (
	"context"

	"github.com/ackmark/ackmark/internal/podstate"
)

// What only some producers can do: ask with a type assertion.

// Validator is implemented by producers that can tell without a connection whether their
// configuration can work: those of [Dial] and [Direct].
type Validator interface {
	// Validate returns the *Error with CodeInvalidConfig that every call would return, or nil.
	Validate() error
}

// TopicChecker is implemented by producers that can ask whether topics are there to be written to:
// those of [Dial] and [Direct].
type TopicChecker interface {
	// CheckTopics returns nil when all of them can be written to, as far as is known, an error that
	// joins an [*Error] for each one that cannot (Kafka's code, or TOPIC_NOT_ALLOWED where the
	// sidecar's list of apps leaves it out), or one that wraps [errors.ErrUnsupported] when nobody
	// can tell (a sidecar of an older version).
	CheckTopics(ctx context.Context, topics ...string) error
}

// Fencer is implemented by producers that may learn that the process has lost its partitions: the
// sidecar client, when somebody else has committed for it, and a [Committer].
type Fencer interface {
	// OnFenced registers a function that is called once for each session that the sidecar has
	// closed because it took this process for dead. All partitions of the process are lost then:
	// their epochs count as released, what was on its way fails with [CodeSessionFenced]. It is
	// called from a goroutine of the producer, which Close awaits: do not call Close in it.
	//
	// It is called, too, when the group of one consumer does not know its member any more: with
	// [CodeMemberFenced], and a *[MemberFencedError] in the error's chain, which names the
	// consumer. What is of others goes on. Forget ends it: call it when the consumer has ended.
	OnFenced(fn func(*Error)) (forget func())
}

// Teller is implemented by producers that tell their sidecar what this process does, for the pod's
// page, `ackmark top` and `ackmark explain`: the sidecar client. A pipeline does that by itself.
// With a consumer of your own, whose assignments you give to Assign:
//
//	if t, ok := p.(producer.Teller); ok {
//		defer t.Tell(c.Report)()
//	}
type Teller interface {
	// Tell has report called at most once a second, while there is a sidecar to tell it to, until
	// stop is called. Its type is of this module: it is that of a consumer's Report.
	Tell(report func() podstate.Report) (stop func())
}

// Refuser is implemented by producers that may learn, at any time, that they can never deliver: the
// sidecar client, and [Direct] with a TransactionalID, when another process has taken it.
//
// The sidecar refuses an app for good that it does not know, that has a wrong token, that speaks
// for a group or runs as a user that it may not, or that speaks another version: a running sidecar
// does not change its mind, its lists are read at its start. Whatever can pass while both run is
// tried again and is no such refusal: no sidecar, one that drains or is full, a member that another
// process still holds, a certificate that does not verify.
//
// A pipeline ends by itself then. With a consumer of your own, end its Run, without a drain that
// would wait in vain:
//
//	ctx, cancel := context.WithCancelCause(ctx)
//	p.(producer.Refuser).OnRefused(func(e *producer.Error) { cancel(fmt.Errorf("%w: %w", consumer.ErrNoDrain, e)) })
type Refuser interface {
	// OnRefused registers a function that is called once, with an error that is not Retryable, when
	// the producer is refused for good: it delivers nothing any more, and every call returns that
	// error. End the process: started again it asks again. If that has happened already, the
	// function is called soon. It is called from a goroutine of the producer, which Close awaits:
	// do not call Close in it.
	OnRefused(fn func(*Error))
}

// Heir is implemented by producers that somebody else may commit for: the sidecar client.
type Heir interface {
	// Inherit waits until nobody commits any more for the former process of a static member: call
	// it before the member joins its group. As soon as it has joined, the broker refuses what is
	// committed in the name of the former process, and all that is done again.
	//
	// It returns nil at once where there is nothing to wait for: no sidecar runs, or it knows of no
	// such process, or is an older one. The error is that of a closed producer, or the context's
	// cause; then the member may join all the same, and repeat.
	Inherit(ctx context.Context, group, instanceID string) error
}

// Committer is implemented by producers that can commit the offset of each input together with its
// outputs: that of [Direct] with a TransactionalID, and that of [Dial], whose sidecar has one.
type Committer interface {
	// CommitUnits begins it: from now on a unit is acked when its outputs are visible to readers of
	// committed records, and its input's offset is the group's. The consumer must commit nothing of
	// its own, and read the offsets and records of committed transactions only. Call it before the
	// group is joined: it ends what a predecessor has left open. The error is that of an invalid
	// configuration.
	CommitUnits() error
	// Committing tells that CommitUnits was called: a consumer that commits by itself must not use
	// the producer any more.
	Committing() bool
	// Crossed tells that everything below an offset is done of an assignment whose inputs all are:
	// behind the last of them are only control records and gaps.
	Crossed(epoch uint64, offset int64)
}

// Switcher is implemented by the sidecar client: it switches the fallback at run time.
type Switcher interface {
	// SetFallback changes the mode and returns at once; the switch follows when it is safe. Modes
	// other than [Off] need FallbackConfig.Direct.
	SetFallback(FallbackMode) error
	// FallbackStats tells how much went which way.
	FallbackStats() FallbackStats
}
