package tracing

import (
	"context"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// maxLinks bounds the links of one span: the SDK's own default keeps as many.
const maxLinks = 128

// Tracer makes spans.
type Tracer struct{ tracer trace.Tracer }

// New asks the provider for a tracer. Nil for none.
func New(p trace.TracerProvider) *Tracer {
	if p == nil {
		return nil
	}
	return &Tracer{p.Tracer(telemetry.Scope, trace.WithSchemaURL(telemetry.SpanSchema))}
}

func describe(o telemetry.Step, topic string, more ...attribute.KeyValue) trace.SpanStartEventOption {
	a := append(make([]attribute.KeyValue, 0, 4+len(more)), telemetry.SpanSystem.String("kafka"), telemetry.SpanOperation.String(o.Name), telemetry.SpanType.String(o.Type))
	if topic != "" {
		a = append(a, telemetry.SpanTopic.String(topic))
	}
	return trace.WithAttributes(append(a, more...)...)
}

// Partition is the attribute of a partition: a string, as the conventions have it.
func Partition(id int32) attribute.KeyValue {
	return telemetry.SpanPartition.String(strconv.FormatInt(int64(id), 10))
}

// Process begins the span of an input that has a sampled context, or none and begins a trace. Its
// own trace links to the input's; joined, it is a child in the input's trace. The context returned
// carries the span, and the input's baggage.
func (t *Tracer) Process(ctx context.Context, r *kgo.Record, group string, join bool) (context.Context, trace.Span) {
	of := contextOf(r.Headers)
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		describe(telemetry.Process, r.Topic, telemetry.SpanGroup.String(group), Partition(r.Partition), telemetry.SpanOffset.Int64(r.Offset), telemetry.SpanTombstone.Bool(r.Value == nil)),
	}
	switch {
	case of.IsValid() && join:
		ctx = trace.ContextWithRemoteSpanContext(ctx, of)
	case of.IsValid():
		options = append(options, trace.WithLinks(trace.Link{SpanContext: of}))
	}
	if b := baggageOf(r.Headers); b.Len() > 0 {
		ctx = baggage.ContextWithBaggage(ctx, b)
	}
	return t.tracer.Start(ctx, telemetry.Process.SpanName(r.Topic), options...)
}

// ProcessBatch begins the span of a call with several inputs of one partition, linked to their
// sampled contexts.
func (t *Tracer) ProcessBatch(ctx context.Context, topic string, partition int32, group string, records int, links []trace.Link) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, telemetry.Process.SpanName(topic), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
		describe(telemetry.Process, topic, telemetry.SpanGroup.String(group), Partition(partition), telemetry.SpanBatch.Int(records)))
}

// Link adds the record's context to the links if it is sampled, up to a bound.
func Link(links []trace.Link, headers []kgo.RecordHeader) []trace.Link {
	if len(links) == maxLinks {
		return links
	}
	if c := contextOf(headers); c.IsValid() {
		links = append(links, trace.Link{SpanContext: c})
	}
	return links
}

// Polled makes the span of a poll that returned records and took so long: it is over.
func (t *Tracer) Polled(fetches kgo.Fetches, group string, took time.Duration) {
	var links []trace.Link
	topic, topics, partitions, records := "", 0, 0, 0
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		if topic != p.Topic {
			topic = p.Topic
			topics++
		}
		partitions++
		records += len(p.Records)
		for i := 0; i < len(p.Records) && len(links) < maxLinks; i++ {
			links = Link(links, p.Records[i].Headers)
		}
	})
	if records == 0 {
		return
	}
	if topics > 1 {
		topic = ""
	}
	_, span := t.tracer.Start(context.Background(), telemetry.Poll.SpanName(topic), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(time.Now().Add(-took)),
		trace.WithLinks(links...), describe(telemetry.Poll, topic, telemetry.SpanGroup.String(group), telemetry.SpanBatch.Int(records), telemetry.SpanPartitions.Int(partitions)))
	span.End()
}

// Commit begins the span of a commit. topic is "" where it is about several.
func (t *Tracer) Commit(topic, group string, partitions int) trace.Span {
	_, span := t.tracer.Start(context.Background(), telemetry.Commit.SpanName(topic), trace.WithSpanKind(trace.SpanKindClient),
		describe(telemetry.Commit, topic, telemetry.SpanGroup.String(group), telemetry.SpanPartitions.Int(partitions)))
	return span
}

// Sent begins the span of a record that goes to Kafka and carries a sampled context: the span is a
// child of it, and the record stays as it is. Nil: the record carries none.
func (t *Tracer) Sent(topic string, headers []kgo.RecordHeader, more ...attribute.KeyValue) trace.Span {
	of := contextOf(headers)
	if !of.IsValid() {
		return nil
	}
	_, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), of), telemetry.Send.SpanName(topic),
		trace.WithSpanKind(trace.SpanKindClient), describe(telemetry.Send, topic, more...))
	return span
}

// Emit begins the span of a record that is emitted under a sampled span, and returns its headers
// with the span's context. A record that has a context of its own keeps it, and is linked to. Nil:
// nothing is traced.
func (t *Tracer) Emit(ctx context.Context, topic string, headers []kgo.RecordHeader, limit int) (trace.Span, []kgo.RecordHeader) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return nil, headers
	}
	kind, options := trace.SpanKindProducer, []trace.SpanStartOption{describe(telemetry.Send, topic)}
	_, has := Sampled(headers)
	if has {
		kind = trace.SpanKindClient
		if links := Link(nil, headers); links != nil {
			options = append(options, trace.WithLinks(links...))
		}
	}
	ctx, span := t.tracer.Start(ctx, telemetry.Send.SpanName(topic), append(options, trace.WithSpanKind(kind))...)
	if !has {
		headers = Carry(span.SpanContext(), baggage.FromContext(ctx)).AddTo(headers, limit)
	}
	return span, headers
}

// End ends a span: kind is the kind of error, as error.type, "" for none. What an error says is not
// written: it may quote a payload.
func End(span trace.Span, kind string, more ...attribute.KeyValue) {
	if kind != "" {
		span.SetAttributes(telemetry.SpanErrorType.String(kind))
		span.SetStatus(codes.Error, kind)
	}
	if len(more) > 0 {
		span.SetAttributes(more...)
	}
	span.End()
}
