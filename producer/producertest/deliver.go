package producertest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ackmark/ackmark/producer"
)

func rec(topic, key, value string) producer.Record {
	return producer.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
}

func unit(outputs ...producer.Record) producer.Unit { return producer.Unit{Outputs: outputs} }

// values returns the values of a topic by key, in the order of the log.
func (e *env) values(topic string) map[string][]string {
	m := map[string][]string{}
	for _, r := range e.Records(e.T, topic) {
		m[string(r.Key)] = append(m[string(r.Key)], string(r.Value))
	}
	return m
}

// mustBeSequence demands 0, 1, 2 … n-1.
func (e *env) mustBeSequence(key string, got []string, n int) {
	e.Helper()
	for i, v := range got {
		if v != strconv.Itoa(i) {
			e.Fatalf("key %s: position %d has value %s (S7)", key, i, v)
		}
	}
	if len(got) != n {
		e.Fatalf("key %s: %d values in the log, want %d", key, len(got), n)
	}
}

// Units of one goroutine for the same key are written in the order of delivery.
func testOrderPerKey(e *env) {
	const goroutines, calls, size, keys = 4, 20, 37, 5
	p := e.producer(Options{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			var next [keys]int
			var recorders []*Recorder
			for range calls {
				units := make([]producer.Unit, size)
				for i := range units {
					k := i % keys
					units[i] = unit(rec(TopicA, fmt.Sprintf("g%d-k%d", g, k), strconv.Itoa(next[k])))
					next[k]++
				}
				r := NewRecorder(size)
				if err := p.Deliver(e.patient(), units, r); err != nil {
					e.Errorf("Deliver: %v", err)
					return
				}
				recorders = append(recorders, r)
			}
			for _, r := range recorders {
				if err := r.Wait(e.patient()); err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if e.Failed() {
		return
	}
	got := e.values(TopicA)
	for g := range goroutines {
		for k := range keys {
			key := fmt.Sprintf("g%d-k%d", g, k)
			want := calls * ((size + keys - 1 - k) / keys)
			e.mustBeSequence(key, got[key], want)
		}
	}
}

// Key, value, headers, partition and timestamp arrive as they were given; null and empty are
// different.
func testRoundTrip(e *env) {
	p := e.producer(Options{})
	at := time.UnixMilli(1_700_000_000_123)
	partition := int32(Partitions - 1)
	records := []producer.Record{
		{Topic: TopicA, Partition: &partition, Key: []byte("full"), Value: []byte("v"), Timestamp: at,
			Headers: []producer.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte{}}, {Key: "", Value: []byte("x")}}},
		{Topic: TopicA, Partition: &partition, Key: []byte("tombstone"), Timestamp: at},
		{Topic: TopicA, Partition: &partition, Value: []byte("no key"), Timestamp: at},
		{Topic: TopicA, Partition: &partition, Key: []byte{}, Value: []byte{}, Timestamp: at},
		{Topic: TopicA, Partition: &partition, Key: []byte("binary"), Value: []byte{0, 255, 128}, Timestamp: at.Add(-time.Hour)},
	}
	var units []producer.Unit
	for _, r := range records {
		units = append(units, unit(r))
	}
	e.done(e.deliver(p, units...))
	got := e.Records(e.T, TopicA)
	if len(got) != len(records) {
		e.Fatalf("%d records in the topic, want %d", len(got), len(records))
	}
	for i, want := range records {
		g := got[i]
		if !same(g.Key, want.Key) || !same(g.Value, want.Value) {
			e.Errorf("record %d: key %#v value %#v, want %#v %#v", i, g.Key, g.Value, want.Key, want.Value)
		}
		if !g.Timestamp.Equal(want.Timestamp) {
			e.Errorf("record %d: timestamp %v, want %v", i, g.Timestamp, want.Timestamp)
		}
		if g.Partition == nil || *g.Partition != partition {
			e.Errorf("record %d is not in partition %d", i, partition)
		}
		if len(g.Headers) != len(want.Headers) {
			e.Errorf("record %d: headers %v, want %v", i, g.Headers, want.Headers)
			continue
		}
		for j, h := range want.Headers {
			if g.Headers[j].Key != h.Key || !bytes.Equal(g.Headers[j].Value, h.Value) {
				e.Errorf("record %d: header %d is %v, want %v", i, j, g.Headers[j], h)
			}
		}
	}
}

func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// A unit without outputs is reported as acked, alone or between others.
func testEmptyUnits(e *env) {
	p := e.producer(Options{})
	e.done(
		e.deliver(p, unit()),
		e.deliver(p, unit(), unit(rec(TopicA, "k", "0")), unit(), unit(rec(TopicA, "k", "1")), unit()),
		e.deliver(p, unit(), unit(), unit()),
		e.deliver(p), // no units: nothing to report
	)
	e.mustBeSequence("k", e.values(TopicA)["k"], 2)
}

// A unit is acked when all its outputs are in Kafka, not earlier.
func testFanOut(e *env) {
	p := e.producer(Options{})
	var list []*Recorder
	for i := range 50 {
		v := strconv.Itoa(i)
		list = append(list, e.deliver(p, unit(rec(TopicA, "k", v), rec(TopicB, "k", v), rec(TopicA, "other", v)), unit(rec(TopicB, "other", v))))
	}
	for _, r := range list {
		e.done(r)
	}
	a, b := e.values(TopicA), e.values(TopicB)
	for _, got := range [][]string{a["k"], a["other"], b["k"], b["other"]} {
		e.mustBeSequence("fan-out", got, 50)
	}
}

// A call of many units is one call: every unit is reported, in few ranges.
func testLargeBatch(e *env) {
	const n = 20_000
	p := e.producer(Options{})
	units := make([]producer.Unit, n)
	for i := range units {
		units[i] = unit(rec(TopicA, "k"+strconv.Itoa(i%97), strconv.Itoa(i/97)))
	}
	r := e.deliver(p, units...)
	e.done(r)
	got := e.values(TopicA)
	for k := range 97 {
		e.mustBeSequence(strconv.Itoa(k), got["k"+strconv.Itoa(k)], (n+96-k)/97)
	}
	// Units that end in the order of the call are reported in ranges. Of units that are spread over
	// partitions each partition's end together, with those of the others still between them.
	for i := range units {
		units[i] = unit(rec(TopicB, "k", ""))
	}
	r = e.deliver(p, units...)
	e.done(r)
	if _, ranges := r.Reported(); ranges > n/2 {
		e.Errorf("%d units were reported in %d ranges: reports are not coalesced", n, ranges)
	}
}

// reuser changes a unit's memory at the moment it is reported, as its owner may.
type reuser struct {
	*Recorder
	units []producer.Unit
}

func (r *reuser) Acked(first, n int) {
	for i := first; i < first+n; i++ {
		for j := range r.units[i].Outputs {
			out := &r.units[i].Outputs[j]
			copy(out.Value, "XXXXXXXX")
			out.Key[0] = 'X'
			out.Topic = "changed"
		}
		r.units[i] = producer.Unit{}
	}
	r.Recorder.Acked(first, n)
}

// The producer owns a unit until its report, and no longer.
func testOwnership(e *env) {
	p := e.producer(Options{})
	const calls, size = 30, 64
	var list []*Recorder
	for c := range calls {
		units := make([]producer.Unit, size)
		for i := range units {
			units[i] = unit(rec(TopicA, "k", strconv.Itoa(c*size+i)), rec(TopicB, "k", strconv.Itoa(c*size+i)))
		}
		r := NewRecorder(size)
		if err := p.Deliver(e.patient(), units, &reuser{r, units}); err != nil {
			e.Fatal(err)
		}
		list = append(list, r)
	}
	e.done(list...)
	e.mustBeSequence("k", e.values(TopicA)["k"], calls*size)
	e.mustBeSequence("k", e.values(TopicB)["k"], calls*size)
}

// One output that cannot be delivered fails its unit, with Kafka's error name, and no other.
func testOneOutputFails(e *env) {
	p := e.producer(Options{})
	units := make([]producer.Unit, 20)
	for i := range units {
		units[i] = unit(rec(TopicA, "k", strconv.Itoa(i)))
	}
	units[7].Outputs = append(units[7].Outputs, rec(e.BadTopic, "k", "bad"), rec(TopicB, "k", "x"))
	r := e.deliver(p, units...)
	e.reported(r)
	for i, f := range r.Fates() {
		switch {
		case i != 7 && f.Err != nil:
			e.Errorf("unit %d failed beside a bad one: %v", i, f.Err)
		case i == 7 && f.Err == nil:
			e.Error("the unit with the bad output was acked (S12)")
		case i == 7 && (f.Err.Code != e.BadCode || f.Err.Topic != e.BadTopic || f.Err.Output != 1):
			e.Errorf("failure is %+v, want code %s, topic %s, output 1", f.Err, e.BadCode, e.BadTopic)
		case i == 7 && f.Err.Message == "":
			e.Error("the failure does not say what to do")
		}
	}
	// The producer goes on, also for the same key.
	e.done(e.deliver(p, unit(rec(TopicA, "after", "0"))))
	got := e.values(TopicA)
	if n := len(got["after"]); n != 1 {
		e.Errorf("%d records after the failure, want 1", n)
	}
	if n := len(got["k"]); n < 19 || n > 20 { // the failed unit's own output may be there
		e.Errorf("%d records of the neighbours, want 19 or 20", n)
	}
}

// An invalid output refuses the whole call, names unit and output, and nothing is taken.
func testInvalidRecord(e *env) {
	p := e.producer(Options{})
	negative := int32(-1)
	for name, bad := range map[string]producer.Record{
		"no topic":           {Key: []byte("k"), Value: []byte("v")},
		"negative partition": {Topic: TopicA, Partition: &negative},
	} {
		r := NewRecorder(3)
		units := []producer.Unit{unit(rec(TopicA, "k", "x")), unit(), unit(rec(TopicA, "k", "x"), bad)}
		err := p.Deliver(e.patient(), units, r)
		var pe *producer.Error
		if !errors.As(err, &pe) || pe.Code != producer.CodeInvalidRecord {
			e.Fatalf("%s: Deliver returned %v, want %s", name, err, producer.CodeInvalidRecord)
		}
		if pe.Output != 1 || !strings.Contains(pe.Message, "unit 2") || pe.Retryable {
			e.Errorf("%s: the error does not name unit 2 and output 1: %v", name, pe)
		}
		e.none(p, r)
		if _, err := p.Emit(e.patient(), bad); !errors.As(err, &pe) || pe.Code != producer.CodeInvalidRecord {
			e.Errorf("%s: Emit returned %v", name, err)
		}
	}
	if n := len(e.Records(e.T, TopicA)); n != 0 {
		e.Errorf("%d records of refused calls were written", n)
	}
}

// none demands that nothing of a refused call was reported.
func (e *env) none(p producer.Producer, r *Recorder) {
	e.Helper()
	if err := p.Flush(e.patient()); err != nil {
		e.Fatalf("Flush: %v", err)
	}
	if n, _ := r.Reported(); n != 0 || r.Wrong() != nil {
		e.Fatalf("%d units of a refused call were reported (%v)", n, r.Wrong())
	}
}
