package producertest

import (
	"errors"
	"strconv"
	"sync"

	"github.com/ackmark/ackmark/producer"
)

// Emit returns when Kafka has the record, and where it is.
func testEmit(e *env) {
	p := e.producer(Options{})
	for i := range 5 {
		ack, err := p.Emit(e.patient(), rec(TopicA, "k", strconv.Itoa(i)))
		if err != nil {
			e.Fatal(err)
		}
		e.mustBePlace(ack, int64(i))
		e.mustBeSequence("k", e.values(TopicA)["k"], i+1)
	}
	_, err := p.Emit(e.patient(), rec(e.BadTopic, "k", "x"))
	var pe *producer.Error
	if !errors.As(err, &pe) || pe.Code != e.BadCode || pe.Topic != e.BadTopic {
		e.Errorf("Emit to a bad topic returned %v, want %s", err, e.BadCode)
	}
}

func (e *env) mustBePlace(ack producer.Ack, offset int64) {
	e.Helper()
	switch {
	case ack.Topic != TopicA:
		e.Errorf("the Ack names topic %q", ack.Topic)
	case e.NoOffsets && (ack.Partition != -1 || ack.Offset != -1):
		e.Errorf("the Ack is %+v, want partition and offset -1", ack)
	case !e.NoOffsets && (ack.Partition < 0 || ack.Offset != offset):
		e.Errorf("the Ack is %+v, want offset %d", ack, offset)
	}
}

// EmitAsync calls back exactly once per record; records of one key keep their order.
func testEmitAsync(e *env) {
	const n = 500
	p := e.producer(Options{})
	var mu sync.Mutex
	fates := map[int]int{}
	done := make(chan struct{})
	for i := range n {
		p.EmitAsync(rec(TopicA, "k", strconv.Itoa(i)), func(_ producer.Ack, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				e.Errorf("record %d: %v", i, err)
			}
			if fates[i]++; fates[i] == 1 && len(fates) == n {
				close(done)
			}
		})
	}
	select {
	case <-done:
	case <-e.patient().Done():
		e.Fatal("not every record was called back")
	}
	failed := make(chan error, 1)
	p.EmitAsync(rec(e.BadTopic, "k", "x"), func(_ producer.Ack, err error) { failed <- err })
	p.EmitAsync(producer.Record{}, func(_ producer.Ack, err error) {
		var pe *producer.Error
		if !errors.As(err, &pe) || pe.Code != producer.CodeInvalidRecord {
			e.Errorf("EmitAsync of a record without topic: %v", err)
		}
	})
	var pe *producer.Error
	if err := <-failed; !errors.As(err, &pe) || pe.Code != e.BadCode {
		e.Errorf("EmitAsync to a bad topic: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, times := range fates {
		if times != 1 {
			e.Errorf("record %d was called back %d times", i, times)
		}
	}
	e.mustBeSequence("k", e.values(TopicA)["k"], n)
}

// A context that ends while the record is on its way does not take it back.
func testEmitContextEnds(e *env) {
	p := e.producer(Options{})
	e.Stall(e.T, true)
	if _, err := p.Emit(e.soon(), rec(TopicA, "k", "0")); !errors.Is(err, errTest) {
		e.Errorf("Emit returned %v, want the context's cause", err)
	}
	e.Stall(e.T, false)
	if err := p.Flush(e.patient()); err != nil {
		e.Fatal(err)
	}
	e.mustBeSequence("k", e.values(TopicA)["k"], 1)
}
