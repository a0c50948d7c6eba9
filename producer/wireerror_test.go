package producer

import (
	"errors"
	"testing"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A sidecar that is full says FULL; one of the release before said RESOURCE_EXHAUSTED. Both are the
// same to a caller.
func TestAFullSidecarIsErrFull(t *testing.T) {
	for _, code := range []string{"FULL", "RESOURCE_EXHAUSTED"} {
		err := wireError(&sidecarpb.UnitFailure{Error: &sidecarpb.Error{Code: code, Message: "m", Retryable: true}})
		if !errors.Is(err, ErrFull) || err.Code != CodeFull || !err.Retryable || err.Message != "m" {
			t.Errorf("%s: %v", code, err)
		}
	}
	if err := wireError(&sidecarpb.UnitFailure{Error: &sidecarpb.Error{Code: "MESSAGE_TOO_LARGE"}}); errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
}
