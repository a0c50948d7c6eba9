package producer_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// A record that is emitted under a sampled span gets a span, and its context if it has none of its
// own. Its fate ends the span.
func TestAnEmitHasASpan(t *testing.T) {
	const own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ended := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(ended))
	b := newBroker(t)
	p := producer.Direct(producer.DirectConfig{Brokers: b.ListenAddrs(), TracerProvider: tp})
	defer p.Close()
	ctx, parent := tp.Tracer("app").Start(t.Context(), "mine")
	shared := make([]producer.Header, 1, 8) // the caller's: nothing is written behind it
	shared[0] = producer.Header{Key: "k"}
	for _, emit := range []struct {
		ctx     context.Context
		headers []producer.Header
	}{{ctx, shared}, {ctx, []producer.Header{{Key: "traceparent", Value: []byte(own)}}}, {t.Context(), nil}} {
		if _, err := p.Emit(emit.ctx, producer.Record{Topic: producertest.TopicA, Headers: emit.headers}); err != nil {
			t.Fatal(err)
		}
	}
	if shared[:2][1].Key != "" {
		t.Error("the caller's memory was written")
	}
	if _, err := p.Emit(ctx, producer.Record{Topic: producertest.TopicA, Timestamp: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("a record that no way takes was taken")
	}
	var spans []sdktrace.ReadOnlySpan
	for _, s := range ended.Ended() {
		if s.Name() == "send "+producertest.TopicA && s.Parent().SpanID() == parent.SpanContext().SpanID() {
			spans = append(spans, s)
		}
	}
	if len(spans) != 3 || len(ended.Ended()) != 3 {
		t.Fatalf("%d spans of %d are those of the emits", len(spans), len(ended.Ended()))
	}
	if kind := spans[0].SpanKind(); kind != trace.SpanKindProducer || len(spans[0].Links()) != 0 {
		t.Errorf("the span whose context the record got is of kind %v", kind)
	}
	if links := spans[1].Links(); spans[1].SpanKind() != trace.SpanKindClient || len(links) != 1 || !strings.Contains(own, links[0].SpanContext.SpanID().String()) {
		t.Errorf("the span of a record with its own context has links %v", links)
	}
	if got := spans[2].Status().Description; got != producer.CodeInvalidRecord {
		t.Errorf("the failed emit ended with %q", got)
	}
	var contexts []string
	for _, r := range b.Records(t, producertest.TopicA) {
		i := slices.IndexFunc(r.Headers, func(h producer.Header) bool { return h.Key == "traceparent" })
		if i >= 0 {
			contexts = append(contexts, string(r.Headers[i].Value))
		}
	}
	slices.Sort(contexts)
	sent := spans[0].SpanContext()
	want := []string{own, "00-" + sent.TraceID().String() + "-" + sent.SpanID().String() + "-01"}
	slices.Sort(want)
	if !slices.Equal(contexts, want) {
		t.Errorf("contexts in Kafka %q, want %q", contexts, want)
	}
}
