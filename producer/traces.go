package producer

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/tracing"
	"github.com/ackmark/ackmark/internal/wire"
)

// traceEmit emits a record under a span of its own, if it is emitted under a sampled one: the
// record's fate ends it.
func traceEmit(t *tracing.Tracer, ctx context.Context, rec Record, fn func(Ack, error), emit func(Record, func(Ack, error)) error) error {
	var span trace.Span
	if t != nil {
		span, rec.Headers = t.Emit(ctx, rec.Topic, rec.Headers, wire.MaxEmitHeaders)
	}
	if span == nil {
		return emit(rec, fn)
	}
	err := emit(rec, func(a Ack, err error) {
		if err == nil && a.Offset >= 0 {
			span.SetAttributes(tracing.Partition(a.Partition), telemetry.SpanOffset.Int64(a.Offset))
		}
		tracing.End(span, kindOf(err))
		fn(a, err)
	})
	if err != nil {
		tracing.End(span, kindOf(err))
	}
	return err
}

// kindOf is an error's kind, as error.type.
func kindOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return "canceled"
}

// output is a record of a call: which unit's, and which of its outputs.
type output struct{ unit, output int32 }

// trace begins the spans of the records that carry a sampled context. Nil: none does.
func (c *call) trace(t *tracing.Tracer, units []Unit, refused map[int]*Error) {
	for i := range units {
		if refused[i] != nil {
			continue
		}
		outs := units[i].Outputs
		for j := range outs {
			if sampled, _ := tracing.Sampled(outs[j].Headers); !sampled {
				continue
			}
			if c.spans == nil {
				c.spans = map[output]trace.Span{}
			}
			c.spans[output{int32(i), int32(j)}] = t.Sent(outs[j].Topic, outs[j].Headers)
		}
	}
}

// endSpan ends the span of a record that has its fate, if it has one.
func (s *slot) endSpan(err error) {
	span := s.call.spans[output{s.unit, s.output}]
	if span == nil {
		return
	}
	kind := ""
	if err != nil {
		kind = kafkaError(err, s.rec.Topic, s.rec.Partition).Code
	} else {
		span.SetAttributes(tracing.Partition(s.rec.Partition), telemetry.SpanOffset.Int64(s.rec.Offset))
	}
	tracing.End(span, kind)
}
