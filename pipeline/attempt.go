package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// outcome is what became of an input.
type outcome struct {
	kind      outcomeKind
	outputs   []producer.Record
	rejection *rejection // of rejected and stops
	attempts  int        // handler calls, of delivers
}

type outcomeKind uint8

const (
	undecided outcomeKind = iota
	delivers              // its outputs, or none, go to the producer
	rejected              // it goes to the dead-letter topic, or halts its partition
	stops                 // it stops the pipeline
	givenBack             // its partition leaves: no outcome, somebody else gets it
)

// rejection is why an input did not succeed.
type rejection struct {
	err      error
	attempts int
	code     string // Kafka's error name, when an output could not be written
	size     letterSize
}

// trial is what a lane knows of the input that it works on.
type trial struct {
	calls  int    // of the handler
	passed string // topic of the last output that was let through

	copies copies
	asCame original
	// As AroundInput middleware hands it on: the attempts below it start from that.
	innerCopies copies
	asSeen      original
	seenAt      consumer.Original
}

// forget lets go of the last input: an idle lane must not keep its batch alive.
func (t *trial) forget() {
	t.copies.forget()
	t.innerCopies.forget()
	t.asCame, t.asSeen, t.seenAt = original{}, original{}, consumer.Original{}
}

// errGivenBack is what a middleware sees of an input that is no longer this process's.
var errGivenBack = errors.New("pipeline: the partition leaves this process: the input is given back, not failed")

// stillWanted tells whether the partition of a started input stays here.
func stillWanted(m *consumer.Message) bool { return m.Start() }

// handle runs an input through all its attempts. The first call was begun by the caller.
func (l *lane) handle(m *consumer.Message) outcome {
	measured, slow := l.times != nil && l.times.next(), l.slow.Load()
	if !measured && !slow {
		return l.handleInput(m)
	}
	start := time.Now()
	if measured = measured && l.times.due.At(start); !measured && !slow {
		return l.handleInput(m)
	}
	r := l.handleInput(m)
	took := time.Since(start)
	if slow && took < fastHandler {
		l.slow.Store(false)
	}
	if measured {
		l.times.took(took, r)
	}
	return r
}

func (l *lane) handleInput(m *consumer.Message) outcome {
	var outputs []producer.Record
	var err error
	l.left, l.tried.calls = false, 0
	l.tried.copies.reset()
	l.tried.copies.keep(&l.tried.asCame, m)
	ctx := l.work.parent
	var in *traced
	if l.p.traces != nil {
		ctx, in = l.p.traces.begin(ctx, m, &l.mayRoot)
	}
	if l.input == nil {
		outputs, err = l.attempts(ctx, m)
	} else if outputs, err = protect(l.input, ctx, m); l.left || l.work.parent.Err() != nil {
		err = errGivenBack // whatever the middleware made of it
	}
	l.tried.copies.restore(&l.tried.asCame, m) // a dead letter may be made of it, now or when an output is refused
	if err == nil {
		if in != nil {
			outputs = in.carry(outputs)
		}
		return l.accept(m, outputs, l.tried.calls)
	}
	return l.conclude(m, err)
}

// conclude finds the outcome of an input without outputs. What a handler returned after its
// partition left counts for nothing, not even success: a handler that sees its context end and
// returns nil would otherwise be taken for a filter.
func (l *lane) conclude(m *consumer.Message, err error) outcome {
	if l.left || l.work.parent.Err() != nil {
		return outcome{kind: givenBack}
	}
	r := &rejection{err: err, attempts: l.tried.calls}
	if c, _ := classify(err); c == classFatal {
		return outcome{kind: stops, rejection: r}
	}
	if isContextError(err) && !stillWanted(m) {
		return outcome{kind: givenBack} // the handler used a context of its own that ends with the process
	}
	return outcome{kind: rejected, rejection: r}
}

// accept looks at where the outputs go: no producer can take one without a topic.
func (l *lane) accept(m *consumer.Message, outputs []producer.Record, attempts int) outcome {
	for i := range outputs {
		topic := outputs[i].Topic
		if topic == l.tried.passed && topic != "" {
			continue
		}
		if topic == "" {
			return outcome{kind: rejected, rejection: &rejection{attempts: attempts, code: producer.CodeInvalidRecord,
				err: fmt.Errorf("pipeline: the handler returned output %d of %d for %s without a topic: set Record.Topic",
					i, len(outputs), inputOf(m))}}
		}
		if err := l.p.outputs.check(topic); err != nil {
			return outcome{kind: stops, rejection: &rejection{err: err, attempts: attempts}}
		}
		l.tried.passed = topic
	}
	return outcome{kind: delivers, outputs: outputs, attempts: attempts}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// attempts calls the handler until it succeeds or its input is given up. It is what AroundInput
// wraps.
func (l *lane) attempts(ctx context.Context, m *consumer.Message) ([]producer.Record, error) {
	copies, came := &l.tried.copies, &l.tried.asCame
	if l.input != nil {
		copies, came = &l.tried.innerCopies, &l.tried.asSeen
		copies.reset()
		copies.keep(came, m)
		l.tried.seenAt = consumer.Original{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset}
	}
	outputs, err := l.attempt(ctx, m)
	if err == nil {
		return outputs, nil
	}
	was := l.tried.seenAt
	if l.input == nil {
		was = m.Original()
	}
	var pause backoff.BackOff
	counted := 0
	for {
		copies.restore(came, m)
		putBack(m.Record, was)
		c, after := classify(err)
		switch {
		case l.left:
			return nil, errGivenBack
		case c == classFatal, c == classReject && !isContextError(err):
			return nil, err
		case !stillWanted(m): // a drain has begun: it is no time for retries, and its end would fail them all
			return nil, l.giveBack()
		case c == classReject:
			return nil, err
		case c == classPlain:
			if counted++; counted == l.p.cfg.MaxAttempts {
				return nil, err
			}
			if pause == nil {
				pause = l.p.cfg.Backoff.start()
			}
			after = pause.NextBackOff()
		}
		l.p.retrying(m, l.tried.calls, after, err)
		if !l.pause(ctx, m, after) {
			if l.left {
				return nil, errGivenBack
			}
			return nil, fmt.Errorf("%w (the middleware's context ended before another attempt: %w)", err, context.Cause(ctx))
		}
		if outputs, err = l.attempt(ctx, m); err == nil {
			return outputs, nil
		}
	}
}

func (l *lane) giveBack() error {
	l.left = true
	return errGivenBack
}

// pause waits between two attempts and begins the next one. False: the input is given back, or,
// when it has not left, a middleware's context ended.
func (l *lane) pause(ctx context.Context, m *consumer.Message, d time.Duration) bool {
	if !l.end() {
		l.left = true
		return false
	}
	l.flush() // what is finished must not wait for the retry
	if !waitWanted(ctx, m, d) {
		l.left = l.work.parent.Err() != nil || !stillWanted(m)
		return false
	}
	l.left = !l.begin(m)
	return !l.left
}

// drainPoll is how soon a waiting retry notices that its partition is to leave. The assignment's
// context cannot tell: it ends after the drain.
const drainPoll = 100 * time.Millisecond

func waitWanted(ctx context.Context, m *consumer.Message, d time.Duration) bool {
	for ; d > 0; d -= drainPoll {
		if !sleep(ctx, min(d, drainPoll)) || !stillWanted(m) {
			return false
		}
	}
	return ctx.Err() == nil
}

// attempt is one call of the handler, with recover and the watchdog's time-out around it.
func (l *lane) attempt(ctx context.Context, m *consumer.Message) ([]producer.Record, error) {
	w := l.work
	if ctx != w.parent { // an AroundInput middleware put its own context in between
		own, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		w = &work{w.assignment, w.parent, own, cancel}
		l.mu.Lock()
		l.cancel, l.cancelOf = cancel, nil
		l.mu.Unlock()
	}
	l.tried.calls++
	outputs, err := protect(l.p.handler, w.ctx, m)
	if w.ctx.Err() == nil {
		return outputs, err
	}
	return outputs, l.interrupted(m, err)
}

// interrupted finds the error of a call whose context ended.
func (l *lane) interrupted(m *consumer.Message, err error) error {
	switch {
	case l.work.parent.Err() != nil:
		return l.giveBack()
	case !l.timedOut.Load():
		return err // a middleware's context
	case err == nil:
		return fmt.Errorf("%w (%s): it returned no error, but too late to be believed", ErrHandlerTimeout, l.p.cfg.HandlerTimeout)
	}
	return fmt.Errorf("%w (%s): %w", ErrHandlerTimeout, l.p.cfg.HandlerTimeout, err)
}

// protect turns a panic into an error.
func protect(h Handler, ctx context.Context, m *consumer.Message) (outputs []producer.Record, err error) {
	defer func() {
		if v := recover(); v != nil {
			outputs, err = nil, newPanicError(v)
		}
	}()
	return h.Handle(ctx, m)
}
