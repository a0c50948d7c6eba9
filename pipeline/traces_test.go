package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

const (
	sampledParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	inputTrace    = "0af7651916cd43dd8448eb211c80319c"
)

// recorded are the spans that ended, of a provider.
type recorded struct {
	*tracetest.SpanRecorder
	tp *sdktrace.TracerProvider
}

func record(options ...sdktrace.TracerProviderOption) recorded {
	r := tracetest.NewSpanRecorder()
	return recorded{r, sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(r))...)}
}

// all returns the ended spans of this name.
func (r recorded) all(name string) (all []sdktrace.ReadOnlySpan) {
	for _, s := range r.Ended() {
		if s.Name() == name {
			all = append(all, s)
		}
	}
	return all
}

// one returns the only span of this name.
func (r recorded) one(t *testing.T, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	all := r.all(name)
	if len(all) != 1 {
		var names []string
		for _, s := range r.Ended() {
			names = append(names, s.Name())
		}
		t.Fatalf("%d spans %q among %q", len(all), name, names)
	}
	return all[0]
}

func attr(s sdktrace.ReadOnlySpan, key attribute.Key) string {
	for _, a := range s.Attributes() {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

func traced(parent, value string) *kgo.Record {
	r := pipelinetest.Record("key", value)
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "traceparent", Value: []byte(parent)})
	return r
}

// A record's context goes through a pipeline, the wire, the sidecar and Kafka to the next pipeline:
// joined it is one trace, and by default each process has its own, linked to the one before.
func TestATraceGoesFromInputToTheNextConsumer(t *testing.T) {
	for _, join := range []bool{true, false} {
		t.Run(fmt.Sprintf("join %v", join), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, side, second := record(), record(), record()
				p := &pod{t: t, tp: side.tp}
				handler := func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
					_, span := first.tp.Tracer("app").Start(ctx, "mine")
					span.End()
					if b := baggage.FromContext(ctx).String(); b != "tenant=blue" {
						t.Errorf("the handler's baggage is %q", b)
					}
					return []producer.Record{{Topic: "mid", Key: in.Key, Value: in.Value}}, nil
				}
				h := pipelinetest.New(t, quiet(pipeline.Config{
					Producer:       producer.DialConfig{Target: "pod", App: "test", Dialer: p.dial, Logger: slog.New(slog.DiscardHandler), TracerProvider: first.tp}.New(),
					Handler:        pipeline.HandlerFunc(handler),
					TracerProvider: first.tp, JoinTraces: join,
				}), pipelinetest.Topic("in", 1), pipelinetest.Topic("mid", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
				p.start(h.Options()[1:])
				h.Start()
				next, err := pipeline.New(quiet(pipeline.Config{
					Consumer:       consumer.Config{Brokers: []string{"localhost:9092"}, Group: "second", Topics: []string{"mid"}, Options: h.Options()[1:]},
					Producer:       h.Direct(producer.DirectConfig{TracerProvider: second.tp}),
					Handler:        pipeline.HandlerFunc(upper),
					TracerProvider: second.tp, JoinTraces: join,
				}))
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- next.Run(ctx) }()

				in := traced(sampledParent, "a")
				in.Headers = append(in.Headers, kgo.RecordHeader{Key: "tracestate", Value: []byte("vendor=1")}, kgo.RecordHeader{Key: "baggage", Value: []byte("tenant=blue")})
				h.Feed(in)
				h.WaitIdle()
				for len(h.Outputs("out")) == 0 {
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if err := h.Stop(); err != nil {
					t.Error(err)
				}
				p.stop()

				process, mine, send := first.one(t, "process in"), first.one(t, "mine"), side.one(t, "send mid")
				again, out := second.one(t, "process mid"), second.one(t, "send out")
				if mine.Parent().SpanID() != process.SpanContext().SpanID() {
					t.Error("the handler's span is no child of its input's")
				}
				if send.Parent().SpanID() != process.SpanContext().SpanID() || send.SpanContext().TraceID() != process.SpanContext().TraceID() {
					t.Error("the sidecar's span is no child of the process's")
				}
				if out.Parent().SpanID() != again.SpanContext().SpanID() {
					t.Error("the direct producer's span is no child of the process's")
				}
				for _, step := range []struct {
					span   sdktrace.ReadOnlySpan
					before string
					trace  string
				}{{process, "b7ad6b7169203331", inputTrace}, {again, process.SpanContext().SpanID().String(), process.SpanContext().TraceID().String()}} {
					if join {
						if step.span.Parent().SpanID().String() != step.before || step.span.SpanContext().TraceID().String() != inputTrace {
							t.Errorf("%s is not in the trace of its input", step.span.Name())
						}
						continue
					}
					links := step.span.Links()
					if step.span.Parent().IsValid() || len(links) != 1 || links[0].SpanContext.SpanID().String() != step.before || links[0].SpanContext.TraceID().String() != step.trace {
						t.Errorf("%s has parent %v and links %v", step.span.Name(), step.span.Parent(), links)
					}
				}
				mid := h.Outputs("mid")[0]
				if got := header(mid, "traceparent"); !strings.Contains(got, process.SpanContext().SpanID().String()) {
					t.Errorf("the output's context is %q", got)
				}
				if join && header(mid, "tracestate") != "vendor=1" || header(mid, "baggage") != "tenant=blue" {
					t.Errorf("headers of the output: %q", mid.Headers)
				}
				for _, c := range []struct {
					span  sdktrace.ReadOnlySpan
					kind  trace.SpanKind
					attrs map[attribute.Key]string
				}{
					{process, trace.SpanKindConsumer, map[attribute.Key]string{
						"messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.system": "kafka", "messaging.destination.name": "in",
						"messaging.destination.partition.id": "0", "messaging.kafka.offset": "0", "messaging.consumer.group.name": pipelinetest.DefaultGroup, "ackmark.fate": "acked", "error.type": "",
					}},
					{send, trace.SpanKindClient, map[attribute.Key]string{
						"messaging.operation.name": "send", "messaging.operation.type": "send", "messaging.destination.name": "mid", "messaging.destination.partition.id": "0",
						"messaging.kafka.offset": "0", "ackmark.app": "test", "error.type": "",
					}},
					{first.all("poll in")[0], trace.SpanKindClient, map[attribute.Key]string{"messaging.operation.type": "receive", "messaging.batch.message_count": "1"}},
					{first.all("commit in")[0], trace.SpanKindClient, map[attribute.Key]string{"messaging.operation.type": "settle", "error.type": ""}},
				} {
					if c.span.SpanKind() != c.kind {
						t.Errorf("%s is of kind %v", c.span.Name(), c.span.SpanKind())
					}
					for key, want := range c.attrs {
						if got := attr(c.span, key); got != want {
							t.Errorf("%s has %s=%q, want %q", c.span.Name(), key, got, want)
						}
					}
				}
				if links := first.all("poll in")[0].Links(); len(links) != 1 || links[0].SpanContext.TraceID().String() != inputTrace {
					t.Errorf("the poll's links: %v", links)
				}
			})
		})
	}
}

// The span of an input ends with what became of it, not with its handler.
func TestTheSpanEndsWithTheFate(t *testing.T) {
	secret := errors.New("payload in a message")
	for name, c := range map[string]struct {
		handler    handle
		dead       string
		fault      *kfake.Fault
		fate, kind string
		retries    int
	}{
		"acked":       {handler: upper, fate: "acked"},
		"filtered":    {handler: func(context.Context, *consumer.Message) ([]producer.Record, error) { return nil, nil }, fate: "acked"},
		"dead letter": {handler: fails(secret), dead: "dead", fate: "dead_letter", kind: "*errors.errorString", retries: 4},
		"rejected":    {handler: fails(pipeline.Reject(secret)), fate: "halted", kind: "*errors.errorString"},
		"panic":       {handler: func(context.Context, *consumer.Message) ([]producer.Record, error) { panic(secret) }, fate: "halted", kind: "*pipeline.PanicError", retries: 4},
		"refused": {handler: upper, dead: "dead", fate: "dead_letter", kind: "INVALID_RECORD",
			fault: &kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out", Err: kerr.InvalidRecord, Count: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record()
				h := pipelinetest.New(t, quiet(pipeline.Config{
					Handler: pipeline.HandlerFunc(c.handler), TracerProvider: r.tp, DeadLetter: pipeline.DeadLetter{Topic: c.dead}, Backoff: pipeline.Backoff{Initial: time.Millisecond},
				}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
				if c.fault != nil {
					h.Cluster().Fault(*c.fault)
				}
				h.Feed(traced(sampledParent, "a"))
				for len(r.all("process in")) == 0 {
					time.Sleep(10 * time.Millisecond)
				}
				span := r.one(t, "process in")
				if fate, kind := attr(span, "ackmark.fate"), attr(span, "error.type"); fate != c.fate || kind != c.kind {
					t.Errorf("fate %q, error.type %q", fate, kind)
				}
				retries := 0
				for _, e := range span.Events() {
					if e.Name == "retry" {
						retries++
					}
				}
				if retries != c.retries {
					t.Errorf("%d retries in the span: %v", retries, span.Events())
				}
				if strings.Contains(fmt.Sprintf("%+v", tracetest.SpanStubFromReadOnlySpan(span)), "payload") {
					t.Error("the span quotes a payload")
				}
			})
		})
	}
}

func fails(err error) handle {
	return func(context.Context, *consumer.Message) ([]producer.Record, error) { return nil, err }
}

// An input whose partition leaves, or whose process ends, ends its span as given back. None is left
// open.
func TestSpansOfInputsThatAreGivenBackEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record()
		begun := make(chan struct{})
		h := pipelinetest.New(t, quiet(pipeline.Config{
			Consumer: consumer.Config{DrainTimeout: time.Second},
			Handler: pipeline.HandlerFunc(func(ctx context.Context, _ *consumer.Message) ([]producer.Record, error) {
				close(begun)
				<-ctx.Done()
				return nil, ctx.Err()
			}), TracerProvider: r.tp,
		}), pipelinetest.Topic("in", 1))
		h.Feed(traced(sampledParent, "a"))
		<-begun
		_ = h.Stop() // tells what it abandoned
		span := r.one(t, "process in")
		if fate, kind := attr(span, "ackmark.fate"), attr(span, "error.type"); fate != "given_back" || kind != "shutdown" {
			t.Errorf("fate %q, error.type %q", fate, kind)
		}
		if n := len(r.Started()) - len(r.Ended()); n != 0 {
			t.Errorf("%d spans are open after Run", n)
		}
	})
}

// Records that are not sampled, or whose header is garbage, have no span, and are delivered as they
// are; those without a context begin a trace once a batch.
func TestOnlySampledInputsHaveSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record()
		h := pipelinetest.New(t, quiet(pipeline.Config{
			Handler: pipeline.HandlerFunc(upper), TracerProvider: r.tp, Producer: nil, Concurrency: 1,
		}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		hostile := []string{strings.TrimSuffix(sampledParent, "1") + "0", "", "x", strings.Repeat("-", 55), strings.Repeat("f", 70_000), "00-" + strings.Repeat("0", 32) + "-" + strings.Repeat("0", 16) + "-01"}
		for _, v := range hostile {
			h.Feed(traced(v, "a"))
		}
		h.Start()
		h.WaitIdle()
		if n := len(r.all("process in")); n != 0 {
			t.Errorf("%d spans for contexts that are not sampled", n)
		}
		for _, out := range h.Outputs("out") {
			if len(out.Headers) != 0 {
				t.Errorf("headers %q", out.Headers)
			}
		}
		var plain []*kgo.Record
		for range 50 {
			plain = append(plain, pipelinetest.Record("key", "plain"))
		}
		h.Feed(plain...)
		h.WaitIdle()
		if n := len(r.all("process in")); n < 1 || n > 10 {
			t.Errorf("%d traces begun by 50 records without a context", n)
		}
		_ = h.Stop()
	})
}

// A batch handler's call is one span that links to its inputs.
func TestABatchIsOneSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record()
		h := pipelinetest.New(t, quiet(pipeline.Config{
			BatchHandler: pipeline.BatchHandlerFunc(func(ctx context.Context, in []*consumer.Message) []pipeline.Result {
				if !trace.SpanContextFromContext(ctx).IsSampled() {
					t.Error("the handler has no span")
				}
				results := make([]pipeline.Result, len(in))
				for i, m := range in {
					results[i].Outputs = []producer.Record{{Topic: "out", Value: m.Value, Headers: headersFor(i)}}
				}
				return results
			}), MaxBatch: 3, BatchWait: time.Minute, TracerProvider: r.tp, Concurrency: 1,
		}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(traced(sampledParent, "a"), traced(strings.TrimSuffix(sampledParent, "1")+"0", "b"), traced(sampledParent, "c"))
		h.WaitIdle()
		span := r.one(t, "process in")
		if len(span.Links()) != 2 || attr(span, "messaging.batch.message_count") != "3" || attr(span, "ackmark.fate") != "acked" {
			t.Errorf("links %v, attributes %v", span.Links(), span.Attributes())
		}
		for i, out := range h.Outputs("out") {
			if got := header(out, "traceparent"); i == 1 && got != "mine" || i != 1 && !strings.Contains(got, span.SpanContext().SpanID().String()) {
				t.Errorf("output %d has context %q", i, got)
			}
		}
		_ = h.Stop()
	})
}

// headersFor gives the second record a creation context of the user's own.
func headersFor(i int) []producer.Header {
	if i == 1 {
		return []producer.Header{{Key: "traceparent", Value: []byte("mine")}}
	}
	return nil
}
