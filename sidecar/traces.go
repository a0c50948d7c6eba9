package sidecar

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/tracing"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// sendSpan begins the span of a record that carries a sampled context. Nil: it does not.
func (k *sink) sendSpan(r *outRec, app string) trace.Span {
	if sampled, _ := tracing.Sampled(r.Headers); !sampled {
		return nil
	}
	return k.tracer.Sent(r.topic.Name, r.Headers, telemetry.SpanApp.String(app))
}

// trace begins the spans of an admitted frame's records, before the first is handed to kgo.
func (f *frame) trace() {
	for i := range f.recs {
		r := &f.recs[i]
		if span := f.sink.sendSpan(r, f.session.app.Name); span != nil {
			if f.spans == nil {
				f.spans = map[*outRec]trace.Span{}
			}
			f.spans[r] = span
		}
	}
}

// endSpans ends the spans of records that were dropped: of units that were refused, or whose
// session ended first. Every other record has its fate: nothing is told of these any more.
func (f *frame) endSpans() {
	for _, span := range f.spans {
		if span.IsRecording() { // not ended
			tracing.End(span, "dropped")
		}
	}
	f.spans = nil
}

// endSpansOf ends those of a unit's records.
func (f *frame) endSpansOf(unit int, failed *sidecarpb.Error) {
	u := &f.units[unit]
	if f.spans == nil {
		return
	}
	for j := range u.nrecs {
		r := &f.recs[u.firstR+j]
		endSpan(f.spans[r], r, failed)
	}
}

// endSpan ends the span of a record that has its fate.
func endSpan(span trace.Span, r *outRec, failed *sidecarpb.Error) {
	if span == nil {
		return
	}
	if failed != nil {
		tracing.End(span, failed.GetCode())
		return
	}
	tracing.End(span, "", []attribute.KeyValue{tracing.Partition(r.Partition), telemetry.SpanOffset.Int64(r.Offset)}...)
}
