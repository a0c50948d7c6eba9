// Package producertest holds the conformance suite that every [producer.Producer] passes: the
// sidecar client, the direct producer, the fake, and one of your own.
package producertest

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/producer"
)

// The topics that the suite writes to. Both must exist with at least [Partitions] partitions, empty
// at the start of each test.
const (
	TopicA     = "conformance-a"
	TopicB     = "conformance-b"
	Partitions = 3
)

// Patience is how long the suite waits for something that must happen.
const Patience = 20 * time.Second

// Harness is a form of producer with its Kafka stand-in, made afresh for every test.
type Harness struct {
	// New returns a producer that writes to the stand-in. The suite closes it.
	New func(t *testing.T, o Options) producer.Producer
	// Stall keeps Kafka from acknowledging anything while on. What was held back is written and
	// acknowledged afterwards, in order.
	Stall func(t *testing.T, on bool)
	// Records returns what is in a topic; records of the same partition in the order of their
	// offsets.
	Records func(t *testing.T, topic string) []producer.Record
	// BadTopic is a topic whose records fail for good with BadCode. Others go on unharmed.
	BadTopic, BadCode string
	// NoOffsets tells that the form does not learn where its records are: Acks carry partition and
	// offset -1.
	NoOffsets bool
	// TextKeys tells that the stand-in reads keys of headers as UTF-8. Kafka takes any bytes.
	TextKeys bool
	// Background names goroutines of the stand-in that may come and go during a test. What the
	// producer starts must have ended when it is closed.
	Background []goleak.Option
	// CheckLeaks replaces the search for goroutines left behind, for a stand-in that starts its own
	// whenever it likes. Nil: [goleak.VerifyNone].
	CheckLeaks func(t *testing.T)
}

// Options are the limits that the suite asks for. Zero: the form's default.
type Options struct {
	MaxRecords   int
	OnFull       producer.OnFull
	CloseTimeout time.Duration
}

// Run runs the suite. newHarness is called once per test; it registers its own clean-up.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t)
			ignore := append([]goleak.Option{goleak.IgnoreCurrent()}, h.Background...)
			e := &env{T: t, Harness: h}
			c.run(e)
			e.closeAll()
			if h.CheckLeaks != nil {
				h.CheckLeaks(t)
				return
			}
			goleak.VerifyNone(t, ignore...)
		})
	}
}

var cases = []struct {
	name string
	run  func(*env)
}{
	{"OrderPerKey", testOrderPerKey},
	{"RoundTrip", testRoundTrip},
	{"AnyRecord", testAnyRecord},
	{"UnitLimits", testUnitLimits},
	{"EmptyUnits", testEmptyUnits},
	{"FanOut", testFanOut},
	{"LargeBatch", testLargeBatch},
	{"Ownership", testOwnership},
	{"OneOutputFails", testOneOutputFails},
	{"InvalidRecordTakesNothing", testInvalidRecord},
	{"EndedContextTakesNothing", testEndedContext},
	{"FullBlocks", testFullBlocks},
	{"FullRefuses", testFullRefuses},
	{"LargerThanTheLimitPassesAlone", testOversize},
	{"Emit", testEmit},
	{"EmitAsync", testEmitAsync},
	{"EmitContextEnds", testEmitContextEnds},
	{"Flush", testFlush},
	{"FlushContextEnds", testFlushContextEnds},
	{"Release", testRelease},
	{"ReleaseContextEnds", testReleaseContextEnds},
	{"Check", testCheck},
	{"CloseBeforeUse", testCloseBeforeUse},
	{"CloseFlushes", testCloseFlushes},
	{"CloseStalled", testCloseStalled},
	{"CloseEndsWaiting", testCloseEndsWaiting},
	{"AfterClose", testAfterClose},
	{"Concurrent", testConcurrent},
}

// env is what a test works with.
type env struct {
	*testing.T
	Harness
	open []producer.Producer
}

// producer returns a producer that is closed at the end of the test.
func (e *env) producer(o Options) producer.Producer {
	e.Helper()
	p := e.New(e.T, o)
	e.open = append(e.open, p)
	return p
}

func (e *env) closeAll() {
	for _, p := range e.open {
		if err := p.Close(); err != nil {
			e.Errorf("Close at the end of the test: %v", err)
		}
	}
}

// patient returns a context that ends when the suite's patience does.
func (e *env) patient() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	e.Cleanup(cancel)
	return ctx
}

// deliver delivers units that must be taken, and returns their recorder.
func (e *env) deliver(p producer.Producer, units ...producer.Unit) *Recorder {
	e.Helper()
	r := NewRecorder(len(units))
	if err := p.Deliver(e.patient(), units, r); err != nil {
		e.Fatalf("Deliver: %v", err)
	}
	return r
}

// done waits for all reports and demands that each unit is acked.
func (e *env) done(list ...*Recorder) {
	e.Helper()
	for _, r := range list {
		e.reported(r)
		for i, f := range r.Fates() {
			if f.Err != nil {
				e.Fatalf("unit %d failed: %v", i, f.Err)
			}
		}
	}
}

// reported waits until each unit has exactly one report.
func (e *env) reported(r *Recorder) {
	e.Helper()
	if err := r.Wait(e.patient()); err != nil {
		e.Fatal(err)
	}
}
