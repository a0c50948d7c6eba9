package tracing

import (
	"encoding/hex"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
)

// The headers of W3C's Trace Context and Baggage, as strings in Kafka's headers.
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
	baggageName = "baggage"
)

// Bounds of what a header may have to be looked at: a stranger wrote it.
const (
	maxTraceparent = 256 // of a version to come; ours has 55
	maxTracestate  = 512
	maxBaggage     = 8192
)

// parentLength is that of a traceparent of version 00: 00-trace id-span id-flags.
const parentLength = 2 + 1 + 32 + 1 + 16 + 1 + 2

// Sampled tells whether the record has a context that is sampled. It looks at the flag before it
// believes the rest, and allocates nothing. has tells that there is a context at all, of whatever
// worth: nobody writes another one beside it.
func Sampled(headers []kgo.RecordHeader) (sampled, has bool) {
	for i := range headers {
		if headers[i].Key == traceparent {
			_, ok := parseParent(headers[i].Value)
			return ok, true
		}
	}
	return false, false
}

// parent is a traceparent that is sampled.
type parent struct {
	traceID trace.TraceID
	spanID  trace.SpanID
	flags   byte
}

// parseParent takes a traceparent apart. False: it is malformed, or not sampled.
func parseParent(v []byte) (p parent, sampled bool) {
	if len(v) < parentLength || len(v) > maxTraceparent {
		return p, false
	}
	var version, flags [1]byte
	if !unhex(flags[:], v[53:55]) || flags[0]&byte(trace.FlagsSampled) == 0 {
		return p, false
	}
	switch {
	case v[2] != '-' || v[35] != '-' || v[52] != '-' || !unhex(version[:], v[:2]) || version[0] == 0xff:
		return p, false
	case len(v) > parentLength && (version[0] == 0 || v[parentLength] != '-'):
		return p, false
	case !unhex(p.traceID[:], v[3:35]) || !unhex(p.spanID[:], v[36:52]) || !p.traceID.IsValid() || !p.spanID.IsValid():
		return p, false
	}
	p.flags = flags[0] & byte(trace.FlagsSampled|trace.FlagsRandom)
	return p, true
}

// unhex is hex.Decode, of lower-case digits only, as W3C has it.
func unhex(to, from []byte) bool {
	for _, c := range from {
		if 'A' <= c && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(to, from)
	return err == nil
}

// value is that of the first header of this name, "" if it is longer than the limit.
func value(headers []kgo.RecordHeader, name string, limit int) string {
	for i := range headers {
		if headers[i].Key == name {
			if len(headers[i].Value) > limit {
				return ""
			}
			return string(headers[i].Value)
		}
	}
	return ""
}

// contextOf is the sampled context that the record carries; invalid for none. A tracestate that is
// malformed is left out, as W3C demands.
func contextOf(headers []kgo.RecordHeader) trace.SpanContext {
	for i := range headers {
		if headers[i].Key != traceparent {
			continue
		}
		p, ok := parseParent(headers[i].Value)
		if !ok {
			break
		}
		state, _ := trace.ParseTraceState(value(headers, tracestate, maxTracestate))
		return trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: p.traceID, SpanID: p.spanID, TraceFlags: trace.TraceFlags(p.flags), TraceState: state, Remote: true,
		})
	}
	return trace.SpanContext{}
}

// baggageOf is the baggage that the record carries: empty for none, or for a malformed one.
func baggageOf(headers []kgo.RecordHeader) baggage.Baggage {
	v := value(headers, baggageName, maxBaggage)
	if v == "" {
		return baggage.Baggage{}
	}
	b, err := baggage.Parse(v)
	if err != nil {
		return baggage.Baggage{}
	}
	return b
}

// Carried is a context as the headers of a record, written once for all records that get it.
type Carried []kgo.RecordHeader

// Carry writes down a context. None for one that is not valid.
func Carry(c trace.SpanContext, b baggage.Baggage) Carried {
	if !c.IsValid() {
		return nil
	}
	// Of version 00, which says that the random flag may be there and means nothing else.
	id, span := c.TraceID(), c.SpanID()
	v := make([]byte, 0, parentLength)
	v = hex.AppendEncode(append(v, "00-"...), id[:])
	v = hex.AppendEncode(append(v, '-'), span[:])
	v = hex.AppendEncode(append(v, '-'), []byte{byte(c.TraceFlags())})
	h := Carried{{Key: traceparent, Value: v}}
	if s := c.TraceState().String(); s != "" && len(s) <= maxTracestate {
		h = append(h, kgo.RecordHeader{Key: tracestate, Value: []byte(s)})
	}
	if s := b.String(); s != "" && len(s) <= maxBaggage {
		h = append(h, kgo.RecordHeader{Key: baggageName, Value: []byte(s)})
	}
	return h
}

// AddTo returns headers with the context, in memory of their own: the ones given may be shared. A
// record that has a context, and one that it would give too many headers, stays as it is.
func (c Carried) AddTo(headers []kgo.RecordHeader, limit int) []kgo.RecordHeader {
	if _, has := Sampled(headers); has || len(headers)+len(c) > limit {
		return headers
	}
	own := make([]kgo.RecordHeader, 0, len(headers)+len(c))
	own = append(own, headers...)
	for _, h := range c {
		if !slices.ContainsFunc(headers, func(u kgo.RecordHeader) bool { return u.Key == h.Key }) { // the user's own baggage stays
			own = append(own, h)
		}
	}
	return own
}
