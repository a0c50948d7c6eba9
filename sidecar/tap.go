package sidecar

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// maxEmitCalls bounds unary emits that are open at the same time.
const maxEmitCalls = 1024

// tap refuses calls before their message is read: until it is read nothing of it is counted, and each may be as large as MaxMessageBytes (S9).
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	switch info.FullMethodName {
	case sidecarpb.Sidecar_Emit_FullMethodName:
		return ctx, enter(ctx, &s.emitCalls, maxEmitCalls)
	case sidecarpb.Sidecar_DeliveryStream_FullMethodName:
		// Twice, because every client may have a broken stream beside its new one.
		return ctx, enter(ctx, &s.streamCalls, int32(2*s.cfg.MaxSessions+16))
	}
	return ctx, nil
}

func enter(ctx context.Context, open *atomic.Int32, limit int32) error {
	if open.Add(1) > limit {
		open.Add(-1)
		return status.Errorf(codes.ResourceExhausted, "%s: %d calls of this kind are open, the limit: wait and try again", wire.CodeFull, limit)
	}
	context.AfterFunc(ctx, func() { open.Add(-1) })
	return nil
}
