package sidecar

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Nothing of a message is counted before it is read, and each may be as large as MaxMessageBytes. So the calls whose message is not read are few,
// and those whose message is being read even fewer (S9).
const (
	// maxEmitCalls bounds unary emits that are open at the same time: most of them wait for Kafka.
	maxEmitCalls = 1024
	// readTimeout is how long an emit may take to arrive once its call is open.
	readTimeout = 5 * time.Second
)

// tap refuses calls before anything of their message is read.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	switch info.FullMethodName {
	case sidecarpb.Sidecar_Emit_FullMethodName:
		if err := enter(ctx, &s.emitCalls, maxEmitCalls); err != nil {
			return ctx, err
		}
		return s.enterUnread(ctx)
	case sidecarpb.Sidecar_DeliveryStream_FullMethodName:
		// Twice, because every client may have a broken stream beside its new one.
		return ctx, enter(ctx, &s.streamCalls, int32(2*s.cfg.MaxSessions+16))
	}
	return ctx, nil
}

func enter(ctx context.Context, open *atomic.Int32, limit int32) error {
	if open.Add(1) > limit {
		open.Add(-1)
		return tooManyCalls(limit)
	}
	context.AfterFunc(ctx, func() { open.Add(-1) })
	return nil
}

type unreadKey struct{}

// enterUnread counts a call until its message is read: as long as it is not, a stream's window of it may be held.
func (s *Server) enterUnread(ctx context.Context) (context.Context, error) {
	limit := s.cfg.maxUnreadEmits()
	if s.unreadEmits.Add(1) > limit {
		s.unreadEmits.Add(-1)
		return ctx, tooManyCalls(limit)
	}
	leave := sync.OnceFunc(func() { s.unreadEmits.Add(-1) })
	context.AfterFunc(ctx, leave)
	return context.WithValue(ctx, unreadKey{}, leave), nil
}

// maxUnreadEmits is how many emits may wait for a reader: together they hold at most MaxBytes, but for the least that work needs.
func (c *Config) maxUnreadEmits() int32 {
	return int32(min(max(c.MaxBytes/streamWindow, 64), maxEmitCalls))
}

func tooManyCalls(limit int32) error {
	return status.Errorf(codes.ResourceExhausted, "%s: %d calls of this kind are open, the limit: wait and try again", wire.CodeFull, limit)
}

// emitReaders is how many emits are read at the same time: together they hold at most an eighth of MaxBytes, but for the least that work needs.
func (c *Config) emitReaders() int { return int(max(4, c.MaxBytes/8/int64(c.MaxMessageBytes))) }

// serviceDesc is the service with Emit served by readEmit: a unary handler is called when gRPC has read the message, which is too late to bound
// what that takes. Clients cannot tell the difference.
func (s *Server) serviceDesc() *grpc.ServiceDesc {
	desc := sidecarpb.Sidecar_ServiceDesc
	desc.Methods = slices.DeleteFunc(slices.Clone(desc.Methods), func(m grpc.MethodDesc) bool { return m.MethodName == "Emit" })
	desc.Streams = append(slices.Clone(desc.Streams), grpc.StreamDesc{StreamName: "Emit", Handler: func(_ any, stream grpc.ServerStream) error {
		return s.serveEmit(stream)
	}})
	return &desc
}

func (s *Server) serveEmit(stream grpc.ServerStream) error {
	req, err := s.readEmit(stream)
	if leave, ok := stream.Context().Value(unreadKey{}).(func()); ok {
		leave()
	}
	if err != nil {
		return err
	}
	answer, err := s.Emit(stream.Context(), req)
	if err != nil {
		return err
	}
	return stream.SendMsg(answer)
}

// readEmit reads the one message of an Emit call when one of the readers is free. Who is slow to send it gives the reader back.
func (s *Server) readEmit(stream grpc.ServerStream) (*sidecarpb.EmitRequest, error) {
	late := time.NewTimer(readTimeout)
	defer late.Stop()
	select {
	case s.emitReaders <- struct{}{}:
		defer func() { <-s.emitReaders }()
	case <-late.C:
		return nil, status.Errorf(codes.ResourceExhausted, "%s: no reader came free within %s: wait and try again", wire.CodeFull, readTimeout)
	case <-stream.Context().Done():
		return nil, status.FromContextError(stream.Context().Err()).Err()
	}
	req, read := new(sidecarpb.EmitRequest), make(chan error, 1)
	go func() { read <- stream.RecvMsg(req) }() // ends with the call at the latest
	select {
	case err := <-read:
		return req, err
	case <-late.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "the message did not arrive within %s", readTimeout)
	}
}
