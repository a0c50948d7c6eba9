package producertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ackmark/ackmark/producer"
)

// records makes any records that Kafka can hold, from a seed.
type records struct {
	*rand.Rand
	text bool // header keys are UTF-8
}

// bytes returns null, empty or any bytes.
func (r records) bytes() []byte {
	switch r.IntN(4) {
	case 0:
		return nil
	case 1:
		return []byte{}
	}
	b := make([]byte, r.IntN(300))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// time returns a create time, the zero time for none.
func (r records) time() time.Time {
	at := []time.Time{{}, time.UnixMilli(0), time.UnixMilli(-1), time.UnixMilli(1), time.UnixMilli(0).Add(-1), time.UnixMilli(-9223372036854), time.UnixMilli(9223372036854),
		time.UnixMilli(r.Int64N(1 << 42)), time.UnixMilli(-r.Int64N(1 << 42)), time.UnixMilli(1_700_000_000_000).Add(999_999)}
	return at[r.IntN(len(at))]
}

func (r records) headers() (list []producer.Header) {
	n := r.IntN(4)
	if r.IntN(30) == 0 {
		n = 1000
	}
	for range n {
		key := string(r.bytes())
		if r.text {
			key = strings.ToValidUTF8(key, "é")
		}
		list = append(list, producer.Header{Key: key, Value: r.bytes()})
	}
	return list
}

func (r records) record(partition int32) producer.Record {
	return producer.Record{Topic: TopicA, Partition: &partition, Key: r.bytes(), Value: r.bytes(), Headers: r.headers(), Timestamp: r.time()}
}

// Any record that Kafka can hold arrives as it was given, by Deliver and by Emit.
func testAnyRecord(e *env) {
	seed := rand.Uint64()
	r := records{rand.New(rand.NewPCG(seed, 0)), e.TextKeys}
	p := e.producer(Options{})
	before := time.Now().Truncate(time.Millisecond)
	var want []producer.Record
	for range 6 {
		var units []producer.Unit
		for range 20 {
			var u producer.Unit
			for range r.IntN(4) {
				u.Outputs = append(u.Outputs, r.record(0))
			}
			units = append(units, u)
			want = append(want, u.Outputs...)
		}
		e.done(e.deliver(p, units...))
		emitted := r.record(0)
		if _, err := p.Emit(e.patient(), emitted); err != nil {
			e.Fatalf("seed %d: Emit: %v", seed, err)
		}
		want = append(want, emitted)
	}
	got := e.Records(e.T, TopicA)
	if len(got) != len(want) {
		e.Fatalf("seed %d: %d records in the topic, want %d", seed, len(got), len(want))
	}
	for i := range want {
		if err := Same(got[i], want[i], before); err != nil {
			e.Fatalf("seed %d: record %d: %v", seed, i, err)
		}
	}
}

// Same tells what a reader finds otherwise than it was given: null and empty are different, times
// are in milliseconds. A record without a time has one that is not before the given moment; a fake,
// which leaves it out, is right too.
func Same(got, want producer.Record, notBefore time.Time) error {
	switch at := want.Timestamp; {
	case !same(got.Key, want.Key):
		return fmt.Errorf("key %#v, want %#v", got.Key, want.Key)
	case !same(got.Value, want.Value):
		return fmt.Errorf("value %#v, want %#v", got.Value, want.Value)
	case !at.IsZero() && got.Timestamp.UnixMilli() != at.UnixMilli():
		return fmt.Errorf("timestamp %v, want %v", got.Timestamp.UTC(), at.UTC())
	case at.IsZero() && !got.Timestamp.IsZero() && got.Timestamp.Before(notBefore):
		return fmt.Errorf("timestamp %v of a record without one, want one from %v on", got.Timestamp, notBefore)
	case want.Partition != nil && (got.Partition == nil || *got.Partition != *want.Partition):
		return fmt.Errorf("not in partition %d", *want.Partition)
	case len(got.Headers) != len(want.Headers):
		return fmt.Errorf("%d headers, want %d", len(got.Headers), len(want.Headers))
	}
	for i, h := range want.Headers {
		if g := got.Headers[i]; g.Key != h.Key || !same(g.Value, h.Value) {
			return fmt.Errorf("header %d is %#v, want %#v", i, g, h)
		}
	}
	return nil
}

// A unit beyond the limits fails alone, with the same code by every form; what is within them does
// not, however much comes together.
func testUnitLimits(e *env) {
	p := e.producer(Options{})
	outputs := func(n, headers int) (u producer.Unit) {
		for range n {
			r := rec(TopicA, "k", "v")
			r.Headers = make([]producer.Header, headers)
			u.Outputs = append(u.Outputs, r)
		}
		return u
	}
	units := []producer.Unit{
		outputs(1, 0),
		outputs(5000, 14),
		outputs(1, 20_000), outputs(1, producer.MaxUnitHeaders), outputs(2, 15_000), outputs(1, 20_000),
		outputs(1, 66_000),
		outputs(producer.MaxUnitOutputs+1, 0),
		outputs(1, 0),
		outputs(2, 0),
	}
	units[9].Outputs[1].Timestamp = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)
	bad := map[int]string{1: producer.CodeUnitTooLarge, 6: producer.CodeUnitTooLarge, 7: producer.CodeUnitTooLarge, 9: producer.CodeInvalidRecord}
	r := e.deliver(p, units...)
	e.reported(r)
	written := 0
	for i, f := range r.Fates() {
		switch code := bad[i]; {
		case code == "" && f.Err != nil:
			e.Errorf("unit %d failed: %v", i, f.Err)
		case code != "" && (f.Err == nil || f.Err.Code != code || f.Err.Retryable):
			e.Errorf("unit %d: %v, want %s", i, f.Err, code)
		case code == "":
			written += len(units[i].Outputs)
		}
	}
	var pe *producer.Error
	if _, err := p.Emit(e.patient(), units[6].Outputs[0]); !errors.As(err, &pe) || pe.Code != producer.CodeUnitTooLarge {
		e.Errorf("Emit of %d headers: %v, want %s", len(units[6].Outputs[0].Headers), err, producer.CodeUnitTooLarge)
	}
	if n := len(e.Records(e.T, TopicA)); n != written {
		e.Errorf("%d records in the topic, want %d", n, written)
	}
}
