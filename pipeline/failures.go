package pipeline

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer"
)

// failure is a unit that the producer will not deliver.
type failure struct {
	assignment *consumer.Assignment
	m          *consumer.Message
	outputs    []producer.Record
	letter     *rejection // the unit was this dead letter
	err        *producer.Error
	tries      int // redeliveries so far
	attempts   int // handler calls that made the outputs
	slot       uint16
}

// failures decides what becomes of inputs whose outputs could not be written. It is a goroutine,
// because a Reporter must not block and a dead letter may have to wait for room in the producer.
// Its queue is bounded by what is in flight.
type failures struct {
	p      *Pipeline
	mu     sync.Mutex
	wake   sync.Cond
	queue  []failure
	closed bool
}

func newFailures(p *Pipeline) *failures {
	fs := &failures{p: p}
	fs.wake.L = &fs.mu
	return fs
}

func (fs *failures) push(f failure) {
	fs.mu.Lock()
	fs.queue = append(fs.queue, f)
	fs.mu.Unlock()
	fs.wake.Signal()
}

func (fs *failures) close() {
	fs.mu.Lock()
	fs.closed = true
	fs.mu.Unlock()
	fs.wake.Signal()
}

func (fs *failures) run() {
	for {
		fs.mu.Lock()
		for len(fs.queue) == 0 && !fs.closed {
			fs.wake.Wait()
		}
		list := fs.queue
		fs.queue = nil
		fs.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for _, f := range list {
			fs.decide(f)
		}
	}
}

// action is what an undelivered unit asks for.
type action uint8

const (
	actionHalt      action = iota // its partition halts: the default, since nothing is lost by it
	actionReject                  // the record is the cause: dead letter
	actionStop                    // every record would fail: the pipeline stops
	actionClosed                  // the producer was closed
	actionRedeliver               // it may succeed later
	actionGone                    // its partition has left this process: the failure says nothing about the input
	actionRenew                   // it may succeed under another assignment of its partition
)

func actionFor(err *producer.Error) action {
	blame := wire.CodeOf(err.Code).Blame
	switch {
	case err.Code == producer.CodeClosed || errors.Is(err, producer.ErrClosed):
		return actionClosed
	case err.Code == producer.CodeSessionFenced, err.Code == producer.CodeMemberFenced, err.Code == producer.CodeReleased: // the last: delivered between the fence and consumer.Fence
		return actionGone
	case err.Code == producer.CodeNoRoom:
		return actionRenew
	case blame == wire.OfProcess, blame == wire.OfProducer: // a restart, after the cause was corrected, goes on where it stopped
		return actionStop
	case blame == wire.OfRecord: // before Retryable: an unknown topic may appear one day, but nothing waits for that
		return actionReject
	case err.Retryable:
		return actionRedeliver
	}
	return actionHalt
}

func (fs *failures) decide(f failure) {
	p := fs.p
	if f.assignment.Context().Err() != nil || actionFor(f.err) == actionGone { // see New
		p.gone(f.m, f.attempts, f.err)
		return
	}
	if actionFor(f.err) == actionRenew {
		p.counts.dropped.Add(1)
		p.renew(f)
		return
	}
	p.counts.undelivered.Add(1)
	p.troubles.note(f.m, problem{stage: podstate.Deciding, attempt: f.attempts}, f.err)
	kind := actionFor(f.err)
	switch {
	case kind == actionClosed:
		p.producerClosed()
		p.undone(f.m, consumer.ErrShutdown)
	case kind == actionStop && wire.CodeOf(f.err.Code).Blame == wire.OfProducer:
		p.stopBy(&DeliveryError{Err: f.err})
		p.undone(f.m, consumer.ErrShutdown)
	case kind == actionStop:
		p.fatal(f.m, f.err)
	case kind == actionRedeliver:
		fs.redeliver(f)
	case f.letter != nil && f.letter.size < letterKeyValue && tooLarge(f.err):
		fs.shrink(f)
	case f.letter != nil:
		p.undone(f.m, &RejectedError{Input: inputOf(f.m), Attempts: f.letter.attempts, Err: f.letter.err, DeadLetter: f.err})
	case kind == actionReject:
		fs.reject(f)
	default:
		p.undone(f.m, fmt.Errorf("pipeline: an output of %s was not written: %w", inputOf(f.m), f.err))
	}
}

// gone ends an input whose partition has left this process: who holds that now reads it again. The
// consumer may not know so yet, nor hear of it while it is cut off from its brokers. So it is told
// that the input is never done under this assignment: the ack mark stays below it, and neither a
// shutdown nor a revoke waits for it.
func (p *Pipeline) gone(m *consumer.Message, attempts int, why error) {
	p.counts.dropped.Add(1)
	if m.Context().Err() == nil {
		p.troubles.note(m, problem{stage: podstate.Held, attempt: attempts}, why)
	}
	p.undone(m, consumer.ErrLost)
}

func (fs *failures) reject(f failure) {
	r := &rejection{err: fmt.Errorf("output %d was not written: %w", f.err.Output, f.err), attempts: f.attempts, code: f.err.Code}
	fs.p.rejecting(f.m, r)
	if fs.p.cfg.DeadLetter.Topic == "" {
		fs.p.undone(f.m, &RejectedError{Input: inputOf(f.m), Attempts: r.attempts, Err: r.err})
		return
	}
	fs.writeLetter(f, r)
}

func (fs *failures) writeLetter(f failure, r *rejection) {
	one := newFlight(fs.p, nil, f.assignment)
	one.addLetter(f.m, r, fs.p.deadLetter(f.m, r))
	one.deliver()
}

// shrink writes a dead letter again that was too large. What came with the input is dropped last:
// its bytes fitted once.
func (fs *failures) shrink(f failure) {
	r := *f.letter
	r.size++
	fs.p.shrinking(f)
	fs.writeLetter(f, &r)
}

// redeliver sends a dead letter that was made here again after a pause, for ever: the error
// says that it may succeed. It has a goroutine of its own, since others behind it must not wait;
// dead letters have no order.
func (fs *failures) redeliver(f failure) {
	f.tries++
	fs.p.traces.note(f.m, telemetry.SpanDelivery, f.err.Code)
	fs.p.metrics.redeliver(f.assignment, 1)
	fs.p.troubles.note(f.m, problem{podstate.Redelivering, f.tries, "", time.Now().Add(fs.p.redeliveryPause(f.tries))}, f.err)
	fs.p.side.Go(func() {
		if !sleep(f.assignment.Context(), fs.p.redeliveryPause(f.tries)) {
			return
		}
		one := newFlight(fs.p, nil, f.assignment)
		one.addAgain(f)
		one.deliver()
	})
}
