package sidecar

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/tracing"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// emit is one unary record on its way.
type emit struct {
	rec    outRec
	begun  time.Time
	timed  bool // as a frame's
	app    *apps.App
	all    *limit.Meter  // of all apps' emits
	report uint64        // 0: the caller waits
	waits  bool          // the caller's place is taken; the call's own
	span   trace.Span    // nil: it carries no sampled context
	done   chan struct{} // closed when ended; then the fields below are set
	err    *sidecarpb.Error
}

// emitter answers Emit.
type emitter struct {
	identity    *identity
	drain       *draining
	apps        *apps.Apps
	sink        *sink
	partitioner kgo.Partitioner
	all         *limit.Meter // emits that have no fate
}

func newEmitter(s *Server) emitter {
	return emitter{s.identity, s.drain, s.apps, s.sink, s.cfg.Partitioner, limit.NewMeter(s.cfg.emitBytes(), s.cfg.emitRecords())}
}

// Emit delivers one record. Everything about the record is answered in the response; a gRPC status
// means that the call itself is wrong.
func (s *emitter) Emit(ctx context.Context, req *sidecarpb.EmitRequest) (*sidecarpb.EmitResponse, error) {
	queued := req.GetWait() == sidecarpb.Wait_WAIT_QUEUED
	switch {
	case req.GetRecord() == nil:
		return nil, status.Error(codes.InvalidArgument, "record is required")
	case sidecarpb.Wait_name[int32(req.GetWait())] == "":
		return nil, status.Errorf(codes.InvalidArgument, "wait %d is not known: use WAIT_ACKED or WAIT_QUEUED", req.GetWait())
	case queued && req.GetApp() == "":
		return nil, status.Error(codes.InvalidArgument, "app is required for WAIT_QUEUED: its report is kept for the app")
	}
	a, err := s.apps.Admit(ctx, req.GetApp(), req.GetToken())
	if err != nil {
		return nil, err
	}
	defer a.Leave()
	e, refused := s.newEmit(a, req.GetRecord())
	if refused != nil {
		a.Counts.Refuse(req.GetRecord().GetTopic(), refused)
		if refused.GetCode() == wire.CodeTopicNotAllowed {
			s.apps.Refusals.Note(peer.Of(ctx), a.Name, apps.RefusedTopic, refused.GetMessage())
		}
		return &sidecarpb.EmitResponse{Error: refused, SidecarId: s.identity.id}, nil
	}
	answer, err := s.emit(ctx, e, queued)
	if answer != nil {
		answer.SidecarId = s.identity.id
	}
	return answer, err
}

// newEmit checks everything that can be known without Kafka.
func (s *emitter) newEmit(a *apps.App, rec *sidecarpb.Record) (*emit, *sidecarpb.Error) {
	if s.drain.begun.Load() {
		refused := wire.Errorf(wire.CodeDraining, "the sidecar is about to stop: try again when it is back")
		refused.RetryAfterMs = time.Second.Milliseconds()
		return nil, refused
	}
	if rec.GetTopic() == "" {
		return nil, wire.Errorf(wire.CodeInvalidRecord, "topic is required")
	}
	if rec.Partition != nil && rec.GetPartition() < 0 {
		return nil, wire.Errorf(wire.CodeInvalidRecord, "partition %d: a partition is 0 or more, or absent", rec.GetPartition())
	}
	if ms := rec.GetTimestampMs(); ms < wire.MinTimeMs || ms > wire.MaxTimeMs {
		return nil, badTime(ms)
	}
	if refused := a.RefuseTopic(rec.GetTopic()); refused != nil {
		return nil, refused
	}
	t, err := s.sink.topics.Get(rec.GetTopic(), &a.Named, apps.MaxTopics)
	if err != nil {
		return nil, apps.TopicError(a, err)
	}
	e := &emit{begun: time.Now(), app: a, all: s.all, done: make(chan struct{})}
	e.rec = outRec{
		Rec: outlet.Rec{
			Record:  kgo.Record{Topic: t.Name, Key: rec.Key, Value: rec.Value, Partition: rec.GetPartition()},
			Promise: s.sink.promise, To: t.Out, Explicit: rec.Partition != nil,
		},
		emit: e, topic: t, flow: s.sink.flows.Of(a.Counts, t.Name),
		size: int64(len(rec.GetKey())+len(rec.GetValue())) + recordCost,
	}
	if rec.TimestampMs != nil {
		e.rec.Timestamp = time.UnixMilli(rec.GetTimestampMs())
	}
	for _, h := range rec.GetHeaders() {
		e.rec.Headers = append(e.rec.Headers, kgo.RecordHeader{Key: h.GetKey(), Value: h.Value})
		e.rec.size += int64(len(h.GetKey())+len(h.GetValue())) + headerCost
	}
	return e, nil
}

// emit takes the emit's places in every limit, and hands it over.
func (s *emitter) emit(ctx context.Context, e *emit, queued bool) (*sidecarpb.EmitResponse, error) {
	if refused := s.admit(e, peer.Of(ctx), queued); refused != nil {
		e.app.Counts.Refuse(e.rec.Topic, refused)
		return &sidecarpb.EmitResponse{Error: refused}, nil
	}
	defer e.stopWaiting()
	if s.sink.tracer != nil {
		e.span = s.sink.sendSpan(&e.rec, e.app.Name)
	}
	e.rec.flow.Attempted.Add(1)
	e.timed = e.rec.flow.Due(e.begun)
	first, err := e.rec.topic.Prepare(ctx)
	switch {
	case ctx.Err() != nil:
		if first != nil {
			e.rec.topic.Probed(nil) // or everybody else would wait for this record
		}
		e.abandon(wire.FromKafka(ctx.Err()))
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		s.sink.resolve(&e.rec, err)
	default:
		s.sink.send(&e.rec)
		s.sink.pace.Came()
	}
	if first != nil {
		go s.sink.sendFirst(first)
	}
	if queued {
		return &sidecarpb.EmitResponse{Success: true, ReportId: e.report}, nil
	}
	select {
	case <-e.done:
		return e.response(), nil
	case <-ctx.Done(): // the record stays on its way
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// likelyQueue is the queue that the record will go to, if that can be known before kgo partitions
// it.
func (s *emitter) likelyQueue(r *outRec) *topics.Queue {
	partition := r.Partition
	if !r.Explicit {
		n := r.To.Partitions()
		if r.Key == nil || n == 0 {
			return nil
		}
		partition = int32(s.partitioner.ForTopic(r.Topic).Partition(&r.Record, int(n)))
	}
	return r.topic.QueueOf(partition)
}

// admit takes the emit's places in every limit, or none, and says why not.
func (s *emitter) admit(e *emit, p peer.Info, queued bool) (refused *sidecarpb.Error) {
	a := e.app
	if q := s.likelyQueue(&e.rec); q != nil && q.Over() {
		return limit.Full("partition %d of topic %q has %s waiting", q.RetryAfter(), q.Partition, e.rec.topic.Name, q)
	}
	var undo []func()
	defer func() {
		if refused != nil {
			for _, f := range undo {
				f()
			}
		}
	}()
	for _, m := range []struct {
		*limit.Meter
		whose string
	}{{s.all, "the sidecar"}, {a.Emits, "app " + a.Name}, {a.Outstanding, "app " + a.Name + " in all"}} {
		if !m.TryAdd(e.rec.size, 1) {
			return limit.Full("%s has %s of emits waiting", m.RetryAfter(), m.whose, m.Meter)
		}
		undo = append(undo, func() { m.Sub(e.rec.size, 1) })
	}
	if !queued {
		if e.waits = a.Waits.Add(1) <= apps.MaxAppWaits; !e.waits {
			a.Waits.Add(-1)
			return limit.Full("app %q waits for %d emits", s.all.RetryAfter(), a.Name, apps.MaxAppWaits)
		}
		return nil
	}
	id, ok := a.Ring.Reserve(p)
	if !ok {
		used, _, _ := a.Ring.Status()
		return limit.Full("%d reports of app %q are not seen: read them by Reports and come back with the last id as cursor, from the process that emitted or with the app's token", limit.UntilRead, used, a.Name)
	}
	e.report = id
	return nil
}

// giveBack returns what admit took, when the emit has its fate.
func (e *emit) giveBack() {
	for _, m := range []*limit.Meter{e.app.Outstanding, e.app.Emits, e.all} {
		m.Sub(e.rec.size, 1)
	}
}

// stopWaiting gives the caller's place back: its call ends.
func (e *emit) stopWaiting() {
	if e.waits {
		e.waits = false
		e.app.Waits.Add(-1)
	}
}

// resolve is called once, when Kafka has the record or it failed for good.
func (e *emit) resolve(failed *sidecarpb.Error) {
	e.err = failed
	if failed == nil {
		e.rec.flow.Took(e.begun, e.timed)
	}
	endSpan(e.span, &e.rec, failed)
	e.finish()
}

// abandon ends an emit that was never handed over.
func (e *emit) abandon(reason *sidecarpb.Error) {
	e.err = reason
	if e.span != nil {
		tracing.End(e.span, reason.GetCode())
	}
	e.rec.flow.Failed.Add(reason.GetCode(), 1)
	e.finish()
}

func (e *emit) finish() {
	if e.report != 0 {
		e.app.Ring.Finish(&sidecarpb.EmitReport{ReportId: e.report, Success: e.err == nil, Error: e.err, Topic: e.rec.topic.Name, Partition: e.rec.Partition, Offset: e.rec.Offset})
	}
	e.giveBack()
	close(e.done)
}

func (e *emit) response() *sidecarpb.EmitResponse {
	if e.err != nil {
		return &sidecarpb.EmitResponse{Error: e.err}
	}
	return &sidecarpb.EmitResponse{Success: true, Partition: e.rec.Partition, Offset: e.rec.Offset}
}
