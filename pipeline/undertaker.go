package pipeline

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ackmark/ackmark/consumer"
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
}

// undertaker decides what becomes of inputs whose outputs could not be written. It is a goroutine,
// because a Reporter must not block and a dead letter may have to wait for room in the producer.
// Its queue is bounded by what is in flight.
type undertaker struct {
	p      *Pipeline
	mu     sync.Mutex
	wake   sync.Cond
	queue  []failure
	closed bool
}

func newUndertaker(p *Pipeline) *undertaker {
	u := &undertaker{p: p}
	u.wake.L = &u.mu
	return u
}

func (u *undertaker) push(f failure) {
	u.mu.Lock()
	u.queue = append(u.queue, f)
	u.mu.Unlock()
	u.wake.Signal()
}

func (u *undertaker) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.wake.Signal()
}

func (u *undertaker) run() {
	for {
		u.mu.Lock()
		for len(u.queue) == 0 && !u.closed {
			u.wake.Wait()
		}
		list := u.queue
		u.queue = nil
		u.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for _, f := range list {
			u.decide(f)
		}
	}
}

// fate is what an undelivered unit asks for.
type fate uint8

const (
	fateHalt      fate = iota // its partition halts: the default, since nothing is lost by it
	fateReject                // the record is the cause: dead letter
	fateStop                  // every record would fail: the pipeline stops
	fateClosed                // the producer was closed
	fateRedeliver             // it may succeed later
	fateGone                  // its partition has left this process: the failure says nothing about the input
)

func fateOf(err *producer.Error) fate {
	blame := wire.CodeOf(err.Code).Blame
	switch {
	case err.Code == producer.CodeClosed || errors.Is(err, producer.ErrClosed):
		return fateClosed
	case err.Code == producer.CodeSessionFenced, err.Code == producer.CodeReleased: // the second: delivered between the fence and consumer.Fence
		return fateGone
	case blame == wire.OfProcess, blame == wire.OfProducer: // a restart, after the cause was corrected, goes on where it stopped
		return fateStop
	case blame == wire.OfRecord: // before Retryable: an unknown topic may appear one day, but nothing waits for that
		return fateReject
	case err.Retryable:
		return fateRedeliver
	}
	return fateHalt
}

func (u *undertaker) decide(f failure) {
	p := u.p
	if f.assignment.Context().Err() != nil || fateOf(f.err) == fateGone { // see New
		p.counts.dropped.Add(1)
		return
	}
	p.counts.undelivered.Add(1)
	kind := fateOf(f.err)
	switch {
	case kind == fateClosed:
		p.producerClosed()
		f.m.Done(consumer.ErrShutdown)
	case kind == fateStop && wire.CodeOf(f.err.Code).Blame == wire.OfProducer:
		p.stopBy(&DeliveryError{Err: f.err})
		f.m.Done(consumer.ErrShutdown)
	case kind == fateStop:
		p.fatal(f.m, f.err)
	case kind == fateRedeliver:
		u.redeliver(f)
	case f.letter != nil && f.letter.size < letterNaked && tooLarge(f.err):
		u.shrink(f)
	case f.letter != nil:
		f.m.Done(&RejectedError{Input: inputOf(f.m), Attempts: f.letter.attempts, Err: f.letter.err, DeadLetter: f.err})
	case kind == fateReject:
		u.reject(f)
	default:
		f.m.Done(fmt.Errorf("pipeline: an output of %s was not written: %w", inputOf(f.m), f.err))
	}
}

func (u *undertaker) reject(f failure) {
	r := &rejection{err: fmt.Errorf("output %d was not written: %w", f.err.Output, f.err), attempts: f.attempts, code: f.err.Code}
	u.p.rejecting(f.m, r)
	if u.p.cfg.DeadLetter.Topic == "" {
		f.m.Done(&RejectedError{Input: inputOf(f.m), Attempts: r.attempts, Err: r.err})
		return
	}
	u.bury(f, r)
}

func (u *undertaker) bury(f failure, r *rejection) {
	one := newFlight(u.p, nil, f.assignment)
	one.addLetter(f.m, r)
	one.deliver()
}

// shrink writes a dead letter again that was too large. What came with the input is dropped last:
// its bytes fitted once.
func (u *undertaker) shrink(f failure) {
	r := *f.letter
	r.size++
	u.p.shrinking(f)
	u.bury(f, &r)
}

// redeliver sends a dead letter of the undertaker's own again after a pause, for ever: the error
// says that it may succeed. It has a goroutine of its own, since others behind it must not wait;
// dead letters have no order.
func (u *undertaker) redeliver(f failure) {
	f.tries++
	u.p.side.Go(func() {
		if !sleep(f.assignment.Context(), u.p.redeliveryPause(f.tries)) {
			return
		}
		one := newFlight(u.p, nil, f.assignment)
		one.addAgain(f)
		one.deliver()
	})
}
