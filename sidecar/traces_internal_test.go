package sidecar

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/internal/tracing"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
)

// Records that are not sampled cost a look at their headers. A span of a record that never gets a
// fate ends with its frame.
func TestSpansOfAFrame(t *testing.T) {
	const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ended := tracetest.NewSpanRecorder()
	s := idle(t)
	s.sink.tracer = tracing.New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(ended)))
	f := &frame{sink: s.sink, session: s.testSession(t), recs: make([]outRec, 3)}
	for i := range f.recs {
		f.recs[i].topic = &topics.Topic{Name: "out"}
		f.recs[i].Headers = []kgo.RecordHeader{{Key: "traceparent", Value: []byte(strings.TrimSuffix(sampled, "1") + "0")}}
	}
	if n := testing.AllocsPerRun(100, f.trace); n != 0 || f.spans != nil {
		t.Errorf("%v allocations, spans %v", n, f.spans)
	}
	f.recs[1].Headers[0].Value, f.recs[2].Headers[0].Value = []byte(sampled), []byte(sampled)
	f.trace()
	if len(f.spans) != 2 {
		t.Fatalf("spans %v", f.spans)
	}
	f.recs[1].Partition, f.recs[1].Offset = 3, 7
	endSpan(f.spans[&f.recs[1]], &f.recs[1], nil)
	f.endSpans()
	var fates []string
	for _, span := range ended.Ended() {
		if span.SpanKind() != trace.SpanKindClient || span.Name() != "send out" {
			t.Errorf("%v span %q", span.SpanKind(), span.Name())
		}
		fates = append(fates, span.Status().Description)
	}
	if len(fates) != 2 || fates[0] != "" || fates[1] != "dropped" {
		t.Errorf("the spans ended with %q", fates)
	}
}
