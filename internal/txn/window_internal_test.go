package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
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

// A window has each claim of its units once, in the order of their first units, whatever windows
// those were in before: a claim that is left out would be committed without its offset.
func TestEachClaimOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := inTurn(rapid.IntRange(1, 9).Draw(t, "claims"), 9).claims
		for range rapid.IntRange(1, 4).Draw(t, "windows") {
			w, want := newWindow(time.Time{}, nil), []*Claim(nil)
			b := &unitsOf{claims: rapid.SliceOf(rapid.SampledFrom(append(all, nil))).Draw(t, "units")}
			for i, st := range b.claims {
				w.add(Run{b, i, i + 1})
				if st != nil && !slices.Contains(want, st) {
					want = append(want, st)
				}
			}
			if !slices.Equal(w.claims, want) {
				t.Fatalf("%d claims, want %d, or another order", len(w.claims), len(want))
			}
		}
	})
}

// Whether a window has a claim already is not looked for among the others, of which there may be
// ten thousand: units that come of them in turn would hold up everybody. So a list from which they
// were taken does not get them again.
func TestClaimsAreNotLookedFor(t *testing.T) {
	b, w := inTurn(3, 6), newWindow(time.Time{}, nil)
	w.add(Run{b, 0, 3})
	w.claims = w.claims[:0]
	w.add(Run{b, 3, 6})
	if len(w.claims) > 0 {
		t.Errorf("%d claims were looked for among those of the window", len(w.claims))
	}
}
