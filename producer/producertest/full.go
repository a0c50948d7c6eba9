package producertest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/ackmark/ackmark/producer"
)

var errTest = errors.New("the test ended this context")

// soon returns a context that ends, with errTest, after the producer had every chance to do the
// wrong thing.
func (e *env) soon() context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 150*time.Millisecond, errTest)
	e.Cleanup(cancel)
	return ctx
}

// A context that has ended takes nothing, even when there is space.
func testEndedContext(e *env) {
	p := e.producer(Options{})
	e.done(e.deliver(p, unit(rec(TopicA, "k", "0")))) // connected
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTest)
	r := NewRecorder(1)
	if err := p.Deliver(ctx, []producer.Unit{unit(rec(TopicA, "k", "no"))}, r); !errors.Is(err, errTest) {
		e.Errorf("Deliver returned %v, want the context's cause", err)
	}
	if _, err := p.Emit(ctx, rec(TopicA, "k", "no")); !errors.Is(err, errTest) {
		e.Errorf("Emit returned %v, want the context's cause", err)
	}
	e.none(p, r)
	e.mustBeSequence("k", e.values(TopicA)["k"], 1)
}

// A full producer blocks Deliver under its context; a Deliver whose context ends took nothing; what
// waits goes on when there is space.
func testFullBlocks(e *env) {
	p := e.producer(Options{MaxRecords: 4})
	e.Stall(e.T, true)
	first := e.deliver(p, unit(rec(TopicA, "k", "0")), unit(rec(TopicA, "k", "1")), unit(rec(TopicA, "k", "2"), rec(TopicB, "k", "0")))

	refused := NewRecorder(1)
	if err := p.Deliver(e.soon(), []producer.Unit{unit(rec(TopicA, "k", "no"))}, refused); !errors.Is(err, errTest) {
		e.Fatalf("Deliver into a full producer returned %v, want the context's cause", err)
	}
	if _, err := p.Emit(e.soon(), rec(TopicA, "k", "no")); !errors.Is(err, errTest) {
		e.Fatalf("Emit into a full producer returned %v, want the context's cause", err)
	}
	var second *Recorder
	var wg sync.WaitGroup
	wg.Go(func() { second = e.deliver(p, unit(rec(TopicA, "k", "3")), unit(rec(TopicA, "k", "4"))) })
	if n, _ := first.Reported(); n != 0 {
		e.Errorf("%d units were reported while Kafka was stalled", n)
	}
	e.Stall(e.T, false)
	wg.Wait()
	e.done(first, second)
	e.none(p, refused)
	e.mustBeSequence("k", e.values(TopicA)["k"], 5)
}

// A full producer that refuses fails at once with ErrFull, retryable, and takes nothing.
func testFullRefuses(e *env) {
	p := e.producer(Options{MaxRecords: 3, OnFull: producer.Refuse})
	e.Stall(e.T, true)
	first := e.deliver(p, unit(rec(TopicA, "k", "0")), unit(rec(TopicA, "k", "1")), unit(rec(TopicA, "k", "2")))
	refused := NewRecorder(1)
	err := p.Deliver(e.patient(), []producer.Unit{unit(rec(TopicA, "k", "no"))}, refused)
	var pe *producer.Error
	if !errors.Is(err, producer.ErrFull) || !errors.As(err, &pe) || pe.Code != producer.CodeFull || !pe.Retryable {
		e.Errorf("Deliver into a full producer returned %#v, want a retryable ErrFull", err)
	}
	if _, err := p.Emit(e.patient(), rec(TopicA, "k", "no")); !errors.Is(err, producer.ErrFull) {
		e.Errorf("Emit into a full producer returned %v, want ErrFull", err)
	}
	called := make(chan error, 2)
	p.EmitAsync(rec(TopicA, "k", "no"), func(_ producer.Ack, err error) { called <- err })
	if err := <-called; !errors.Is(err, producer.ErrFull) {
		e.Errorf("EmitAsync into a full producer reported %v, want ErrFull", err)
	}
	e.Stall(e.T, false)
	e.done(first)
	e.none(p, refused)
	e.done(e.deliver(p, unit(rec(TopicA, "k", "3"))))
	e.mustBeSequence("k", e.values(TopicA)["k"], 4)
}

// What is larger than the whole limit passes alone: one unit, or a call of many.
func testOversize(e *env) {
	for name, o := range map[string]Options{"block": {MaxRecords: 4}, "refuse": {MaxRecords: 4, OnFull: producer.Refuse}} {
		p := e.producer(o)
		var fan producer.Unit
		for i := range 10 {
			fan.Outputs = append(fan.Outputs, rec(TopicA, name+"-fan", strconv.Itoa(i)))
		}
		e.done(e.deliver(p, fan))
		many := make([]producer.Unit, 50)
		for i := range many {
			many[i] = unit(rec(TopicA, name+"-many", strconv.Itoa(i)))
		}
		if err := p.Flush(e.patient()); err != nil {
			e.Fatal(err)
		}
		e.done(e.deliver(p, many...))
		got := e.values(TopicA)
		e.mustBeSequence("fan", got[name+"-fan"], 10)
		e.mustBeSequence("many", got[name+"-many"], 50)
	}
}
