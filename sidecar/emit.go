package sidecar

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// emit is one unary record on its way.
type emit struct {
	rec    outRec
	app    *app
	server *Server
	report uint64        // 0: the caller waits
	waits  bool          // the caller's place is taken; the call's own
	done   chan struct{} // closed when ended; then the fields below are set
	err    *sidecarpb.Error
}

// Emit delivers one record. Everything about the record is answered in the response; a gRPC status
// means that the call itself is wrong.
func (s *Server) Emit(ctx context.Context, req *sidecarpb.EmitRequest) (*sidecarpb.EmitResponse, error) {
	queued := req.GetWait() == sidecarpb.Wait_WAIT_QUEUED
	switch {
	case req.GetRecord() == nil:
		return nil, status.Error(codes.InvalidArgument, "record is required")
	case sidecarpb.Wait_name[int32(req.GetWait())] == "":
		return nil, status.Errorf(codes.InvalidArgument, "wait %d is not known: use WAIT_ACKED or WAIT_QUEUED", req.GetWait())
	case queued && req.GetApp() == "":
		return nil, status.Error(codes.InvalidArgument, "app is required for WAIT_QUEUED: its report is kept for the app")
	}
	a, err := s.admitApp(ctx, req.GetApp(), req.GetToken())
	if err != nil {
		return nil, err
	}
	defer a.leave()
	e, refused := s.newEmit(a, req.GetRecord())
	if refused != nil {
		if refused.GetCode() == wire.CodeTopicNotAllowed {
			s.apps.refusals.note(s.log, peer.Of(ctx), a.Name, refusedTopic, refused.GetMessage())
		}
		return &sidecarpb.EmitResponse{Error: refused, SidecarId: s.id}, nil
	}
	answer, err := s.emit(ctx, e, queued)
	if answer != nil {
		answer.SidecarId = s.id
	}
	return answer, err
}

// newEmit checks everything that can be known without Kafka.
func (s *Server) newEmit(a *app, rec *sidecarpb.Record) (*emit, *sidecarpb.Error) {
	if s.draining.Load() {
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
	if refused := a.refuse(rec.GetTopic()); refused != nil {
		return nil, refused
	}
	t, err := s.topics.get(a, rec.GetTopic())
	if err != nil {
		return nil, topicError(a, err)
	}
	e := &emit{app: a, server: s, done: make(chan struct{})}
	e.rec = outRec{
		Rec: outlet.Rec{
			Record:  kgo.Record{Topic: t.name, Key: rec.Key, Value: rec.Value, Partition: rec.GetPartition()},
			Promise: s.promise, To: t.out, Explicit: rec.Partition != nil,
		},
		emit: e, topic: t,
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
func (s *Server) emit(ctx context.Context, e *emit, queued bool) (*sidecarpb.EmitResponse, error) {
	if refused := s.admitEmit(e, peer.Of(ctx), queued); refused != nil {
		return &sidecarpb.EmitResponse{Error: refused}, nil
	}
	defer e.stopWaiting()
	first, err := e.rec.topic.prepare(ctx)
	switch {
	case ctx.Err() != nil:
		if first != nil {
			e.rec.topic.probed(nil) // or everybody else would wait for this record
		}
		e.abandon(wire.FromKafka(ctx.Err()))
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		s.ended(&e.rec, err)
	default:
		s.produce(&e.rec)
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
func (r *outRec) likelyQueue() *queue {
	n := r.To.Partitions()
	partition := r.Partition
	if !r.Explicit {
		if r.Key == nil || n == 0 {
			return nil
		}
		partition = int32(r.topic.server.cfg.Partitioner.ForTopic(r.Topic).Partition(&r.Record, int(n)))
	}
	if qs := *r.topic.queues.Load(); partition >= 0 && int(partition) < len(qs) {
		return qs[partition]
	}
	return nil
}

// ended is called once, when Kafka has the record or it failed for good.
func (e *emit) ended(r *outRec, err error) {
	if err != nil {
		e.err = recordError(r, err)
		e.server.recordsFailed.Add(1)
	} else {
		e.server.recordsAcked.Add(1)
	}
	e.finish()
}

// abandon ends an emit that was never handed over.
func (e *emit) abandon(reason *sidecarpb.Error) {
	e.err = reason
	e.finish()
}

func (e *emit) finish() {
	if e.report != 0 {
		e.app.ring.Finish(&sidecarpb.EmitReport{ReportId: e.report, Success: e.err == nil, Error: e.err, Topic: e.rec.topic.name, Partition: e.rec.Partition, Offset: e.rec.Offset})
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
