package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/lifecycle"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/recent"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// counts are the pipeline's counters. None is touched more often than once per flight in normal
// operation.
type counts struct {
	acked       atomic.Int64 // without the dead letters
	deadLetters atomic.Int64
	retries     atomic.Int64
	rejected    atomic.Int64
	timeouts    atomic.Int64
	dropped     atomic.Int64
	undelivered atomic.Int64
	redelivered atomic.Int64

	latency recent.Window
}

// State is a snapshot of a pipeline, made without asking a broker.
type State struct {
	// Running tells that Run was called and has not returned.
	Running bool
	// Stopping is why the pipeline stops by itself, if it does.
	Stopping error
	// Consumer is the membership, and where each partition stands.
	Consumer consumer.State

	// Halted is how many of the partitions held stand still: all of them when it is the number of
	// Consumer.Partitions.
	Halted int

	// Lanes is their number, Busy how many of them run a handler now.
	Lanes, Busy int
	// Queued inputs wait in the lanes; Finished ones wait in them for delivery.
	Queued, Finished int

	// Counts since the start. Done: inputs whose outputs or dead letter were acknowledged, filtered
	// ones included. DeadLetters: of them, those that went to the dead-letter topic. Retries:
	// repeated handler calls. Rejected: inputs that were rejected, to the dead-letter topic or by a
	// halt. Timeouts: handlers that ran longer than HandlerTimeout. Dropped: inputs that left with
	// their partition before they had an outcome. Undelivered: units that the producer could not
	// deliver. Redelivered: rounds of units that it could not deliver then, and was given again.
	Done, DeadLetters, Retries, Rejected, Timeouts, Dropped, Undelivered, Redelivered int64

	// Sentinels must stay 0: those of the consumer; OrderInverted, which is looked at for all keys
	// of some flights; and CommitBeyond of what is done without an acknowledgement, looked at each
	// second and when a partition leaves. ClosedAdmitted is the sidecar's.
	Sentinels ackmark.Sentinels
}

// State tells where the pipeline stands. It may be called at any time, from anywhere.
func (p *Pipeline) State() State {
	s := State{
		Consumer: p.source.State(), Lanes: len(p.lanes),
		DeadLetters: p.counts.deadLetters.Load(), Retries: p.counts.retries.Load(), Rejected: p.counts.rejected.Load(),
		Timeouts: p.counts.timeouts.Load(), Dropped: p.counts.dropped.Load(), Undelivered: p.counts.undelivered.Load(),
		Redelivered: p.counts.redelivered.Load(),
	}
	s.Done = p.counts.acked.Load() + s.DeadLetters
	for i := range s.Consumer.Partitions {
		if s.Consumer.Partitions[i].Halted != nil {
			s.Halted++
		}
	}
	s.Sentinels = p.sentinels.watch.Counts().Plus(s.Consumer.Sentinels)
	s.Running, s.Stopping = p.life.Phase() == lifecycle.Running, p.whyStopping()
	s.Busy, s.Queued, s.Finished = p.laneCounts()
	return s
}

// laneCounts are the sums of State over the lanes.
func (p *Pipeline) laneCounts() (busy, queued, finished int) {
	for _, l := range p.lanes {
		l.mu.Lock()
		queued += l.backlog.queued
		if l.running != nil {
			busy++
		}
		if l.flight != nil {
			finished += len(l.flight.units)
		}
		l.mu.Unlock()
	}
	if p.shared != nil {
		p.shared.mu.Lock()
		queued += p.shared.backlog.queued
		p.shared.mu.Unlock()
	}
	return busy, queued, finished
}

// Check tells whether the pipeline works now: nil, or all that is wrong and what to do. It asks a
// broker and the producer, for at most 5 s each: made for a readiness probe.
func (p *Pipeline) Check(ctx context.Context) error {
	if err := p.whyStopping(); err != nil {
		return err
	}
	switch phase := p.life.Phase(); {
	case phase == lifecycle.New && !p.life.Closing():
		return ErrNotRunning
	case phase != lifecycle.Running:
		return ErrClosed
	}
	errs := []error{p.allHalted(), p.source.Check(ctx)}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := p.cfg.Producer.Check(ctx)
	if errs = append(errs, err); err == nil {
		errs = append(errs, p.checkTopics(ctx))
	}
	return errors.Join(errs...)
}

const checkTimeout = 5 * time.Second

// throttle lets one log line through per second and counts the others: a poisoned topic must not
// fill the disk.
type throttle struct {
	base       time.Time
	next       atomic.Int64 // nanoseconds since base
	suppressed atomic.Int64
}

func (t *throttle) allow() (suppressed int64, ok bool) {
	now, next := int64(time.Since(t.base))+1, t.next.Load()
	if now < next || !t.next.CompareAndSwap(next, now+int64(time.Second)) {
		t.suppressed.Add(1)
		return 0, false
	}
	return t.suppressed.Swap(0), true
}

func (p *Pipeline) retrying(m *consumer.Message, attempt int, after time.Duration, err error) {
	p.counts.retries.Add(1)
	p.metrics.retry(m)
	p.traces.note(m, telemetry.SpanRetry, kindOf(err), telemetry.SpanAttempt.Int(attempt))
	p.troubles.note(m, problem{stage: podstate.Retrying, attempt: attempt, next: time.Now().Add(after)}, err)
	if n, ok := p.warned.allow(); ok {
		p.log.Warn("a handler failed and is called again",
			"input", inputOf(m).String(), "attempt", attempt, "after", after, "err", err, "suppressed", n)
	}
}

func (p *Pipeline) rejecting(m *consumer.Message, r *rejection) {
	p.counts.rejected.Add(1)
	if p.cfg.DeadLetter.Topic != "" {
		p.events.Add(podstate.DeadLetter, m.Topic, m.Partition, fmt.Sprintf("offset %d, after %s: %v", m.Offset, attempts(r.attempts), r.err))
	}
	if n, ok := p.warned.allow(); ok {
		p.log.Warn("an input is rejected", "input", inputOf(m).String(), "attempts", r.attempts,
			"dead_letter_topic", p.cfg.DeadLetter.Topic, "err", r.err, "suppressed", n)
	}
}

func (p *Pipeline) shrinking(f failure) {
	if n, ok := p.warned.allow(); ok {
		p.log.Warn("a dead letter is too large and is written again with less", "input", inputOf(f.m).String(),
			"dead_letter_topic", p.cfg.DeadLetter.Topic, "err", f.err, "suppressed", n)
	}
}

func (p *Pipeline) redelivering(f failure) {
	p.counts.redelivered.Add(1)
	if n, ok := p.warned.allow(); ok {
		p.log.Warn("an output was not written and is delivered again",
			"input", inputOf(f.m).String(), "tries", f.tries, "err", f.err, "suppressed", n)
	}
}
