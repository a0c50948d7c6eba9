package sidecar

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A sidecar that is full says so in one shape: an Error with code FULL, retryable, with the time to
// wait. Emit answers it in its response. A call that has no response to put it in ends with
// RESOURCE_EXHAUSTED and the same Error as the status's detail.

// fullRing is the time to wait for what depends on the client: that it reads its reports.
const fullRing = time.Second

func full(format string, after time.Duration, args ...any) *sidecarpb.Error {
	after = min(max(after, minRetryAfter), maxRetryAfter)
	e := wire.Errorf(wire.CodeFull, format+": wait and try again", args...)
	e.RetryAfterMs = after.Milliseconds()
	return e
}

func fullStatus(format string, after time.Duration, args ...any) error {
	return statusOf(full(format, after, args...))
}

func statusOf(e *sidecarpb.Error) error {
	st := status.New(codes.ResourceExhausted, e.GetCode()+": "+e.GetMessage())
	if detailed, err := st.WithDetails(e); err == nil {
		st = detailed
	}
	return st.Err()
}
