package tracing

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func header(value string) []kgo.RecordHeader {
	return []kgo.RecordHeader{{Key: "other"}, {Key: traceparent, Value: []byte(value)}}
}

func TestSampledReadsOnlyWhatW3CAllows(t *testing.T) {
	for value, want := range map[string]bool{
		good:                                  true,
		strings.TrimSuffix(good, "1") + "3":   true, // random, too
		strings.TrimSuffix(good, "01") + "ff": true, // flags to come
		"cc" + good[2:]:                       true, // a version to come
		"cc" + good[2:] + "-more":             true,
		strings.TrimSuffix(good, "1") + "0":   false,
		"":                                    false,
		"00":                                  false,
		good + "-more":                        false, // version 00 ends there
		"cc" + good[2:] + "more":              false,
		"ff" + good[2:]:                       false,
		strings.ToUpper(good):                 false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": false,
		"cc" + good[2:] + "-" + strings.Repeat("a", 1<<20):        false,
		strings.Repeat("0", 1<<20):                                false,
		strings.Repeat("\x00", 55):                                false,
	} {
		sampled, has := Sampled(header(value))
		if sampled != want || !has {
			t.Errorf("%.80q: sampled %v, has %v", value, sampled, has)
		}
		if c := contextOf(header(value)); c.IsValid() != want {
			t.Errorf("%.80q: context %v", value, c)
		}
	}
	if sampled, has := Sampled(nil); sampled || has {
		t.Error("a record without headers has a context")
	}
}

// What a stranger wrote costs nothing until it is known to be sampled.
func TestLookingAtAHeaderAllocatesNothing(t *testing.T) {
	for _, value := range []string{good, strings.TrimSuffix(good, "1") + "0", "", strings.Repeat("z", 1<<16)} {
		h := header(value)
		if n := testing.AllocsPerRun(100, func() { Sampled(h) }); n != 0 {
			t.Errorf("%.60q: %v allocations", value, n)
		}
	}
}

// FuzzContext compares with OpenTelemetry's own reader, which allocates.
func FuzzContext(f *testing.F) {
	f.Add([]byte(good), []byte("a=b"), []byte("k=v"))
	f.Add([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"), []byte("=,="), []byte("\xff"))
	f.Add([]byte("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-x"), []byte(strings.Repeat("a=b,", 40)), []byte(strings.Repeat("k=v,", 5000)))
	f.Fuzz(func(t *testing.T, parent, state, bag []byte) {
		h := []kgo.RecordHeader{{Key: traceparent, Value: parent}, {Key: tracestate, Value: state}, {Key: baggageName, Value: bag}}
		sampled, _ := Sampled(h)
		ours := contextOf(h)
		if sampled != ours.IsValid() {
			t.Fatalf("Sampled says %v, the context is %v", sampled, ours)
		}
		carrier := propagation.MapCarrier{traceparent: string(parent), tracestate: string(state)}
		theirs := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), carrier))
		if ours.IsValid() && (!theirs.IsValid() || ours.TraceID() != theirs.TraceID() || ours.SpanID() != theirs.SpanID() || !theirs.IsSampled()) {
			t.Fatalf("%q: ours %v, OpenTelemetry's %v", parent, ours, theirs)
		}
		b := baggageOf(h)
		for _, c := range Carry(ours, b) {
			switch limit := map[string]int{traceparent: parentLength, tracestate: maxTracestate, baggageName: maxBaggage}[c.Key]; {
			case len(c.Value) == 0, len(c.Value) > limit:
				t.Fatalf("header %s has %d bytes", c.Key, len(c.Value))
			}
		}
	})
}

func TestAContextOfTheRecordsOwnStays(t *testing.T) {
	c := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	b, err := baggage.Parse("tenant=blue")
	if err != nil {
		t.Fatal(err)
	}
	carried := Carry(c, b)
	if len(carried) != 2 || string(carried[0].Value) != "00-01000000000000000000000000000000-0200000000000000-01" || string(carried[1].Value) != "tenant=blue" {
		t.Fatalf("carried %q", carried)
	}
	for name, own := range map[string][]kgo.RecordHeader{"sampled": header(good), "malformed": header("mine")} {
		if got := carried.AddTo(own, 100); len(got) != len(own) {
			t.Errorf("%s: the record's headers became %q", name, got)
		}
	}
	own := append(make([]kgo.RecordHeader, 0, 8), kgo.RecordHeader{Key: baggageName, Value: []byte("tenant=red")})
	got := carried.AddTo(own, 100)
	if len(got) != 2 || string(got[0].Value) != "tenant=red" || got[1].Key != traceparent {
		t.Errorf("headers %q", got)
	}
	if spare := own[:2]; !bytes.Equal(spare[1].Value, nil) {
		t.Error("the memory behind the user's headers was written")
	}
	if got := carried.AddTo(own, 2); len(got) != 1 {
		t.Errorf("a record got %d headers where 2 are allowed", len(got))
	}
}
