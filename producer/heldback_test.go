package producer

import (
	"testing"

	"github.com/ackmark/ackmark/internal/wire"
)

// One unit that the sidecar may still begin with holds the direct way back: both ways would write
// it, and what follows could overtake it (S7).
func TestOneOpenUnitHoldsTheDetourBack(t *testing.T) {
	const sent, expiry = 1, 100
	for name, c := range map[string]struct {
		now           uint64
		noExpiryBelow uint64
		reported      bool
		held          bool
	}{
		"not expired":      {now: expiry - 1, held: true},
		"expires now":      {now: expiry, held: true},
		"expired":          {now: expiry + 1},
		"never expires":    {now: expiry + 1, noExpiryBelow: sent + 1, held: true},
		"another one does": {now: expiry + 1, noExpiryBelow: sent},
		"reported":         {now: expiry - 1, noExpiryBelow: sent + 1, reported: true},
	} {
		open := []wire.Range{{First: sent, Count: 1}}
		if c.reported {
			open = nil
		}
		s := sentExpiry{last: expiry, noExpiryBelow: c.noExpiryBelow}
		if why, held := s.heldBack(open, c.now); held != c.held || held != (why != "") {
			t.Errorf("%s: held back %v (%q), want %v", name, held, why, c.held)
		}
	}
}
