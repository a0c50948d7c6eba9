package limit

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

// UntilRead is the time to wait for what depends on the client: that it reads its reports.
const UntilRead = time.Second

// Full is the error, with a format that has its own arguments and a time, which is bounded.
func Full(format string, after time.Duration, args ...any) *sidecarpb.Error {
	after = min(max(after, minRetryAfter), maxRetryAfter)
	e := wire.Errorf(wire.CodeFull, format+": wait and try again", args...)
	e.RetryAfterMs = after.Milliseconds()
	return e
}

// FullStatus is the same as the end of a call.
func FullStatus(format string, after time.Duration, args ...any) error {
	return StatusOf(Full(format, after, args...))
}

// StatusOf makes one error of the contract the end of a call.
func StatusOf(e *sidecarpb.Error) error {
	st := status.New(codes.ResourceExhausted, e.GetCode()+": "+e.GetMessage())
	if detailed, err := st.WithDetails(e); err == nil {
		st = detailed
	}
	return st.Err()
}
