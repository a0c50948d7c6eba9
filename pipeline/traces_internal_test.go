package pipeline

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/ackmark/ackmark/consumer"
)

// An input that is not sampled costs a look at its headers, and nothing without a tracer.
func TestUnsampledInputsAllocateNothing(t *testing.T) {
	cfg := Config{}
	if newTraces(&cfg) != nil {
		t.Fatal("there are traces without a provider")
	}
	cfg.TracerProvider = noop.NewTracerProvider()
	ts := newTraces(&cfg)
	f := &flight{msgs: []*consumer.Message{{Record: &kgo.Record{Headers: []kgo.RecordHeader{
		{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")},
	}}}}}
	ctx, may := t.Context(), true
	if n := testing.AllocsPerRun(1000, func() {
		if _, in := ts.begin(ctx, f.msgs[0], &may); in != nil {
			t.Error("it is traced")
		}
		ts.acked(f, 0, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
