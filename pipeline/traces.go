package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/tracing"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer"
)

// traces follows the inputs that are traced from their first handler call to their fate. A pipeline
// without a tracer has none.
type traces struct {
	tracer *tracing.Tracer
	group  string
	join   bool

	open   atomic.Int64 // len(inputs): who finds 0 takes no lock
	mu     sync.Mutex
	inputs map[*consumer.Message]*traced
}

// traced is a span that is not over: of one input, or of a batch handler's call and all its inputs.
type traced struct {
	span    trace.Span
	carried tracing.Carried // its context, as the outputs get it
	left    int             // inputs without a fate; under traces.mu
	kind    string          // of the first error; under traces.mu
	fate    string          // of the last input
	release func() bool     // forgets the end of the assignment
}

func newTraces(cfg *Config) *traces {
	t := tracing.New(cfg.TracerProvider)
	if t == nil {
		return nil
	}
	return &traces{tracer: t, group: cfg.Consumer.Group, join: cfg.JoinTraces, inputs: map[*consumer.Message]*traced{}}
}

// begin begins the span of an input whose context is sampled. An input without a context begins a
// trace if it may, which the sampler decides: it costs as much as a record does, so that a lane
// allows it once a chunk.
func (t *traces) begin(ctx context.Context, m *consumer.Message, mayRoot *bool) (context.Context, *traced) {
	sampled, has := tracing.Sampled(m.Headers)
	if !sampled {
		if has || !*mayRoot {
			return ctx, nil
		}
		*mayRoot = false
	}
	ctx, span := t.tracer.Process(ctx, m.Record, t.group, t.join)
	return t.enter(ctx, span, []*consumer.Message{m})
}

// beginBatch begins the span of a batch handler's call.
func (t *traces) beginBatch(ctx context.Context, batch []batchInput) *traced {
	var links []trace.Link
	rooted := false // none of them has a context, or some are sampled
	for i := range batch {
		h := batch[i].m.Headers
		_, has := tracing.Sampled(h)
		rooted = rooted || !has
		links = tracing.Link(links, h)
	}
	if links == nil && !rooted {
		return nil
	}
	first := batch[0].m
	ctx, span := t.tracer.ProcessBatch(ctx, first.Topic, first.Partition, t.group, len(batch), links)
	inputs := make([]*consumer.Message, len(batch))
	for i := range batch {
		inputs[i] = batch[i].m
	}
	_, in := t.enter(ctx, span, inputs)
	return in
}

func (t *traces) enter(ctx context.Context, span trace.Span, inputs []*consumer.Message) (context.Context, *traced) {
	c := span.SpanContext()
	if !c.IsSampled() {
		span.End()
		return ctx, nil
	}
	in := &traced{span: span, carried: tracing.Carry(c, baggage.FromContext(ctx)), left: len(inputs)}
	t.mu.Lock()
	for _, m := range inputs {
		t.inputs[m] = in
	}
	t.open.Add(int64(len(inputs)))
	t.mu.Unlock()
	// Whoever drops an input because its partition has left tells nobody.
	over := inputs[0].Context()
	release := context.AfterFunc(over, func() {
		for _, m := range inputs {
			t.end(m, telemetry.FateGivenBack, kindOf(context.Cause(over)))
		}
	})
	t.mu.Lock()
	in.release = release
	t.mu.Unlock()
	return ctx, in
}

// carry gives the outputs of a traced input its context. They get a slice of their own: a handler
// may share what it returns.
func (in *traced) carry(outputs []producer.Record) []producer.Record {
	if len(outputs) == 0 {
		return outputs
	}
	limit := wire.MaxUnitHeaders
	for i := range outputs {
		limit -= len(outputs[i].Headers)
	}
	if limit < len(outputs)*len(in.carried) {
		return outputs // a trace must not make a unit too large
	}
	outputs = slices.Clone(outputs)
	for i := range outputs {
		outputs[i].Headers = in.carried.AddTo(outputs[i].Headers, wire.MaxUnitHeaders)
	}
	return outputs
}

// of returns the trace of an input, nil for none.
func (t *traces) of(m *consumer.Message) *traced {
	if t == nil || t.open.Load() == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inputs[m]
}

// note writes an event about an input that goes on.
func (t *traces) note(m *consumer.Message, event, kind string, more ...attribute.KeyValue) {
	if in := t.of(m); in != nil {
		in.span.AddEvent(event, trace.WithAttributes(append(more, telemetry.SpanErrorType.String(kind))...))
	}
}

// acked ends the inputs whose units are acknowledged: outputs, or a dead letter.
func (t *traces) acked(f *flight, first, n int) {
	if t == nil || t.open.Load() == 0 {
		return
	}
	for i := first; i < first+n; i++ {
		if r := f.letters[i]; r != nil {
			t.end(f.msgs[i], telemetry.FateDeadLetter, r.kind())
		} else {
			t.end(f.msgs[i], telemetry.FateAcked, "")
		}
	}
}

// undone ends an input that is not done here.
func (t *traces) undone(m *consumer.Message, err error) {
	if t == nil || t.open.Load() == 0 {
		return
	}
	fate := telemetry.FateHalted
	if errors.Is(err, consumer.ErrShutdown) || errors.Is(err, consumer.ErrRevoked) || errors.Is(err, consumer.ErrLost) {
		fate = telemetry.FateGivenBack
		if why := context.Cause(m.Context()); why != nil {
			err = why
		}
	}
	t.end(m, fate, kindOf(err))
}

// end gives an input its fate, once. A span ends with the last of its inputs.
func (t *traces) end(m *consumer.Message, fate, kind string) {
	t.mu.Lock()
	in := t.inputs[m]
	if in == nil {
		t.mu.Unlock()
		return
	}
	delete(t.inputs, m)
	t.open.Add(-1)
	in.left--
	if in.kind == "" {
		in.kind = kind
	}
	if in.fate == "" || fate != telemetry.FateAcked { // of a batch: the worst
		in.fate = fate
	}
	last, release := in.left == 0, in.release
	t.mu.Unlock()
	if !last {
		return
	}
	if release != nil {
		release()
	}
	tracing.End(in.span, in.kind, telemetry.SpanFate.String(in.fate))
}

// close ends what is left when the pipeline has ended.
func (t *traces) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	left := slices.Collect(maps.Keys(t.inputs))
	t.mu.Unlock()
	for _, m := range left {
		t.end(m, telemetry.FateGivenBack, "shutdown")
	}
}

func (r *rejection) kind() string {
	if r.code != "" {
		return r.code
	}
	return kindOf(r.err)
}

// kindOf is an error's kind, as error.type: of few values, and without what the error says.
func kindOf(err error) string {
	if rejected, ok := errors.AsType[*RejectedError](err); ok {
		err = rejected.Err
	}
	if e, ok := errors.AsType[*producer.Error](err); ok {
		return e.Code
	}
	for _, known := range []struct {
		err  error
		kind string
	}{
		{ErrHandlerTimeout, "timeout"}, {consumer.ErrRevoked, "revoked"}, {consumer.ErrLost, "lost"}, {consumer.ErrShutdown, "shutdown"},
	} {
		if errors.Is(err, known.err) {
			return known.kind
		}
	}
	for {
		switch e := err.(type) { //nolint:errorlint // the marks are taken off one by one
		case *rejectError:
			err = e.err
		case *fatalError:
			err = e.err
		case *retryError:
			err = e.err
		case nil:
			return "unknown"
		default:
			return fmt.Sprintf("%T", err)
		}
	}
}

// undone ends an input without its being done.
func (p *Pipeline) undone(m *consumer.Message, err error) {
	m.Done(err)
	p.traces.undone(m, err)
}
