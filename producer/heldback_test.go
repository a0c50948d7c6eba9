package producer

import "testing"

// One unit that the sidecar may still begin with holds the direct way back: both ways would write
// it, and what follows could overtake it (S7).
func TestOneOpenUnitHoldsTheWayBack(t *testing.T) {
	const sent, expiry = 1, 100
	for name, c := range map[string]struct {
		now      uint64
		eternal  uint64
		gone     bool
		reported bool
		held     bool
	}{
		"not expired":         {now: expiry - 1, held: true},
		"expires now":         {now: expiry, held: true},
		"expired":             {now: expiry + 1},
		"never expires":       {now: expiry + 1, eternal: sent + 1, held: true},
		"another one does":    {now: expiry + 1, eternal: sent},
		"the sidecar is gone": {now: expiry - 1, eternal: sent + 1, gone: true},
		"reported":            {now: expiry - 1, eternal: sent + 1, reported: true},
	} {
		cl := newClient(DialConfig{MaxFrameBytes: 1000, boot: func() uint64 { return c.now }})
		f := cl.win.open()
		f.data = append(f.data, 1, 2, 3)
		cl.win.add(0, 3, 1, callRef{id: 1, batch: cl.tally.add(1)}, 0)
		cl.win.send(cost{1000, 10}, 0)
		cl.fall.expiry, cl.fall.eternal, cl.session.gone = expiry, c.eternal, c.gone
		if c.reported {
			cl.win.report(sent, 1, nil)
		}
		if why, held := cl.heldBack(); held != c.held || held != (why != "") {
			t.Errorf("%s: held back %v (%q), want %v", name, held, why, c.held)
		}
	}
}
