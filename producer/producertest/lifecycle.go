package producertest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/ackmark/ackmark/producer"
)

// Flush returns when everything accepted before it is reported, whatever comes meanwhile.
func testFlush(e *env) {
	p := e.producer(Options{MaxRecords: 2000})
	if err := p.Flush(e.patient()); err != nil {
		e.Errorf("Flush with nothing to do: %v", err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				r := NewRecorder(1)
				if err := p.Deliver(e.patient(), []producer.Unit{unit(rec(TopicB, "noise", strconv.Itoa(i)))}, r); err != nil {
					e.Errorf("Deliver: %v", err)
					return
				}
			}
		}
	})
	for range 5 {
		r := e.deliver(p, unit(rec(TopicA, "k", "x")), unit(rec(TopicA, "l", "x"), rec(TopicB, "l", "x")), unit())
		if err := p.Flush(e.patient()); err != nil {
			e.Errorf("Flush: %v", err)
		}
		if n, _ := r.Reported(); n != 3 {
			e.Errorf("%d of 3 units were reported when Flush returned", n)
		}
	}
	close(stop)
	wg.Wait()
}

func testFlushContextEnds(e *env) {
	p := e.producer(Options{})
	e.Stall(e.T, true)
	r := e.deliver(p, unit(rec(TopicA, "k", "0")))
	if err := p.Flush(e.soon()); !errors.Is(err, errTest) {
		e.Errorf("Flush of a stalled producer returned %v, want the context's cause", err)
	}
	e.Stall(e.T, false)
	e.done(r)
}

func sourced(epoch, index uint64, outputs ...producer.Record) producer.Unit {
	return producer.Unit{Source: producer.Source{Epoch: epoch, Index: index, Offset: int64(index * 2)}, Outputs: outputs}
}

func (e *env) assign(p producer.Producer, generation int32, epochs ...uint64) {
	e.Helper()
	var added []producer.Assignment
	for _, epoch := range epochs {
		added = append(added, producer.Assignment{Epoch: epoch, Topic: "input", Partition: int32(epoch), LeaderEpoch: 1})
	}
	m := producer.Membership{Group: "g", MemberID: "m", Generation: generation}
	if err := p.Assign(e.patient(), m, added); err != nil {
		e.Fatalf("Assign: %v", err)
	}
}

// When Release has returned, the units of its epochs are finished; later ones are refused one by
// one, their neighbours are not.
func testRelease(e *env) {
	p := e.producer(Options{})
	e.assign(p, 1, 1, 2)
	first := e.deliver(p, sourced(1, 0, rec(TopicA, "one", "0")), sourced(2, 0, rec(TopicA, "two", "0")), sourced(1, 1))
	if err := p.Flush(e.patient()); err != nil { // what is not sent yet may be dropped by Release
		e.Fatal(err)
	}
	e.done(first)
	if err := p.Release(e.patient(), []uint64{1}); err != nil {
		e.Fatalf("Release: %v", err)
	}
	e.assign(p, 2, 3)
	r := e.deliver(p, sourced(1, 2, rec(TopicA, "one", "late")), sourced(2, 1, rec(TopicA, "two", "1")), sourced(1, 3),
		sourced(3, 0, rec(TopicA, "three", "0")), unit(rec(TopicA, "none", "0")))
	e.reported(r)
	for i, f := range r.Fates() {
		if late := i == 0 || i == 2; late && (f.Err == nil || f.Err.Code != producer.CodeReleased) {
			e.Errorf("unit %d of a released epoch: %v, want %s", i, f.Err, producer.CodeReleased)
		} else if !late && f.Err != nil {
			e.Errorf("unit %d failed beside those of a released epoch: %v", i, f.Err)
		}
	}
	got := e.values(TopicA)
	for key, n := range map[string]int{"one": 1, "two": 2, "three": 1, "none": 1} {
		e.mustBeSequence(key, got[key], n)
	}
	for range 2 { // again, and what was never held: nothing to wait for
		if err := p.Release(e.patient(), []uint64{1, 99}); err != nil {
			e.Errorf("Release again: %v", err)
		}
	}
}

// Release waits for what is on its way, and no longer than its context.
func testReleaseContextEnds(e *env) {
	p := e.producer(Options{})
	e.assign(p, 1, 1)
	e.Stall(e.T, true)
	r := e.deliver(p, sourced(1, 0, rec(TopicA, "k", "0")))
	err := p.Release(e.soon(), []uint64{1})
	n, _ := r.Reported()
	if err != nil && !errors.Is(err, errTest) || err == nil && n == 0 {
		e.Errorf("Release of a stalled producer returned %v with %d of 1 units reported, want the context's cause, or the unit's fate", err, n)
	}
	e.Stall(e.T, false)
	e.reported(r) // acked or failed: exactly once in any case
}

func testCheck(e *env) {
	p := e.producer(Options{})
	if err := p.Check(e.patient()); err != nil {
		e.Errorf("Check of a working producer: %v", err)
	}
}

func testCloseBeforeUse(e *env) {
	p := e.producer(Options{})
	for range 2 {
		if err := p.Close(); err != nil {
			e.Errorf("Close before use: %v", err)
		}
	}
}

// Close flushes.
func testCloseFlushes(e *env) {
	p := e.producer(Options{})
	var list []*Recorder
	for i := range 100 {
		list = append(list, e.deliver(p, unit(rec(TopicA, "k", strconv.Itoa(i)))))
	}
	if err := p.Close(); err != nil {
		e.Errorf("Close: %v", err)
	}
	for _, r := range list {
		if n, _ := r.Reported(); n != 1 {
			e.Fatal("a unit was not reported when Close returned")
		}
	}
	e.done(list...)
	e.mustBeSequence("k", e.values(TopicA)["k"], 100)
}

// What Close cannot flush in time fails with ErrClosed and is counted; a second Close does nothing.
func testCloseStalled(e *env) {
	p := e.producer(Options{CloseTimeout: 1})
	e.Stall(e.T, true)
	r := e.deliver(p, unit(rec(TopicA, "k", "0")), unit(rec(TopicA, "k", "1"), rec(TopicB, "k", "0")))
	called := make(chan error, 2)
	p.EmitAsync(rec(TopicA, "k", "2"), func(_ producer.Ack, err error) { called <- err })
	if err := p.Close(); !errors.Is(err, producer.ErrClosed) {
		e.Errorf("Close with units on their way returned %v, want ErrClosed and their count", err)
	}
	if n, _ := r.Reported(); n != 2 {
		e.Errorf("%d of 2 units were reported when Close returned", n)
	}
	for i, f := range r.Fates() {
		if !errors.Is(f.Err, producer.ErrClosed) {
			e.Errorf("unit %d: %v, want ErrClosed", i, f.Err)
		}
	}
	if err := <-called; !errors.Is(err, producer.ErrClosed) {
		e.Errorf("EmitAsync: %v, want ErrClosed", err)
	}
	if err := p.Close(); err != nil {
		e.Errorf("the second Close: %v", err)
	}
	e.Stall(e.T, false)
}

// Close ends the calls that wait for space.
func testCloseEndsWaiting(e *env) {
	p := e.producer(Options{MaxRecords: 1, CloseTimeout: 1})
	e.Stall(e.T, true)
	e.deliver(p, unit(rec(TopicA, "k", "0")))
	result := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		result <- p.Deliver(context.Background(), []producer.Unit{unit(rec(TopicA, "k", "1"))}, NewRecorder(1))
	})
	_ = p.Deliver(e.soon(), []producer.Unit{unit(rec(TopicA, "k", "2"))}, NewRecorder(1)) // the other one waits by now
	_ = p.Close()
	select {
	case err := <-result:
		if !errors.Is(err, producer.ErrClosed) {
			e.Errorf("Deliver that waited for space: %v, want ErrClosed", err)
		}
	case <-e.patient().Done():
		e.Fatal("Close left a Deliver waiting")
	}
	wg.Wait()
	e.Stall(e.T, false)
}

// After Close everything is refused with ErrClosed, and nothing is reported.
func testAfterClose(e *env) {
	p := e.producer(Options{})
	e.done(e.deliver(p, unit(rec(TopicA, "k", "0"))))
	if err := p.Close(); err != nil {
		e.Fatal(err)
	}
	r := NewRecorder(1)
	called := make(chan error, 2)
	p.EmitAsync(rec(TopicA, "k", "1"), func(_ producer.Ack, err error) { called <- err })
	_, emitted := p.Emit(e.patient(), rec(TopicA, "k", "1"))
	for what, err := range map[string]error{
		"Deliver":   p.Deliver(e.patient(), []producer.Unit{unit(rec(TopicA, "k", "1"))}, r),
		"Emit":      emitted,
		"EmitAsync": <-called,
		"Assign":    p.Assign(e.patient(), producer.Membership{Group: "g"}, nil),
		"Check":     p.Check(e.patient()),
	} {
		if !errors.Is(err, producer.ErrClosed) {
			e.Errorf("%s after Close: %v, want ErrClosed", what, err)
		}
	}
	if err := p.Flush(e.patient()); err != nil {
		e.Errorf("Flush after Close: %v, want nil: everything is reported", err)
	}
	if err := p.Release(e.patient(), []uint64{1}); err != nil {
		e.Errorf("Release after Close: %v, want nil: nothing is sent any more", err)
	}
	if n, _ := r.Reported(); n != 0 {
		e.Error("a unit that was refused was reported")
	}
	e.mustBeSequence("k", e.values(TopicA)["k"], 1)
}

// Everything at once, ended by Close: what was taken is reported exactly once, what was acked is in
// Kafka, in order.
func testConcurrent(e *env) {
	const goroutines = 4
	p := e.producer(Options{MaxRecords: 500})
	var wg sync.WaitGroup
	var accepted [goroutines][]*Recorder
	var emitted, called atomic.Int64
	enough := make(chan struct{}, goroutines)
	for g := range goroutines {
		wg.Go(func() {
			key := fmt.Sprintf("g%d", g)
			next := 0
			for call := 0; ; call++ {
				units := make([]producer.Unit, 1+call%7)
				for i := range units {
					units[i] = unit(rec(TopicA, key, strconv.Itoa(next+i)))
				}
				r := NewRecorder(len(units))
				if err := p.Deliver(context.Background(), units, r); err != nil {
					if !errors.Is(err, producer.ErrClosed) {
						e.Errorf("Deliver: %v", err)
					}
					return
				}
				next += len(units)
				accepted[g] = append(accepted[g], r)
				emitted.Add(1)
				p.EmitAsync(rec(TopicB, key, "x"), func(producer.Ack, error) { called.Add(1) })
				if call == 60 {
					enough <- struct{}{}
				}
			}
		})
	}
	<-enough
	if err := p.Close(); err != nil {
		e.Errorf("Close: %v", err)
	}
	wg.Wait()
	if emitted.Load() != called.Load() {
		e.Errorf("%d records emitted, %d called back", emitted.Load(), called.Load())
	}
	got := e.values(TopicA)
	for g := range goroutines {
		n := 0
		for _, r := range accepted[g] {
			e.done(r)
			n += len(r.Fates())
		}
		e.mustBeSequence(strconv.Itoa(g), got[fmt.Sprintf("g%d", g)], n)
	}
}
