package txn

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// Why a window is aborted: a unit's fault before what the window was found to be, and that before
// what was said; that others gave up is the last, since it may come of the rest.
func TestReason(t *testing.T) {
	fault, said := errors.New("refused"), errors.New("said")
	claim := &Claim{of: NewClaims(nil)}
	given := &Claim{of: NewClaims(nil), state: abandoned}
	for i, c := range []struct {
		fault error
		found outcome
		of    *Claim
		want  error
	}{
		{fault, outcome{why: said, strangers: []int{1}}, given, fault}, {nil, outcome{why: said, strangers: []int{1}}, claim, ErrNotOpen},
		{nil, outcome{why: said, tooLarge: claim}, claim, ErrSetTooLarge}, {nil, outcome{why: said}, given, said},
		{nil, outcome{why: fmt.Errorf("cut: %w", context.Canceled)}, given, errGivenUp}, {nil, outcome{}, claim, errLate},
	} {
		w := newWindow(time.Time{}, nil)
		w.outcome, w.claims = c.found, []*Claim{c.of}
		if got := w.reason(c.fault); !errors.Is(got, c.want) {
			t.Errorf("%d: %v, want %v", i, got, c.want)
		}
	}
}
