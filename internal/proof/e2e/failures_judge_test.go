package e2e

import (
	"strings"
	"testing"
	"time"
)

// standsStill is a row whose reader saw every partition once a second for a minute, and nothing of
// one of them for a while.
func standsStill(of *failure, stall time.Duration) *failing {
	h, begun := &holders{seen: map[int32][]work{}}, time.Now()
	for p := range int32(partitions) {
		at := begun
		for range 60 {
			h.seen[p] = append(h.seen[p], work{seen: at})
			at = at.Add(time.Second)
		}
		if p == partitions/2 {
			h.seen[p] = append(h.seen[p], work{seen: at.Add(stall - time.Second)})
		}
	}
	return &failing{of: of, h: h}
}

// A row fails whose longest stall, beside what the test holds back, is longer than its twin's by
// more than a transaction's share, or than what at-least-once is held to where its twin was
// quicker.
func TestAStallLongerThanTheTwins(t *testing.T) {
	t.Parallel()
	const limit, little = 3 * time.Second, 10 * time.Millisecond
	for name, c := range map[string]struct {
		twin, may time.Duration
		held      time.Duration // by the test
	}{
		"the twin was quick":                  {twin: time.Second, may: limit + transactionShare},
		"the twin was slow":                   {twin: 2 * limit, may: 2*limit + transactionShare},
		"the test held it up":                 {twin: time.Second, may: 10*time.Second + limit + transactionShare, held: 10 * time.Second},
		"the test held it up and it was slow": {twin: 2 * limit, may: 10*time.Second + 2*limit + transactionShare, held: 10 * time.Second},
	} {
		for stall, wrong := range map[time.Duration]bool{c.twin: false, c.may: false, c.may + little: true, 2 * c.may: true} {
			x := standsStill(&failure{twin: limit}, stall)
			x.excused(c.held, everyPartition...)
			cell, err := x.beside(&twin{stall: c.twin})
			if (err != nil) != wrong {
				t.Errorf("%s: a stall of %s is judged %v (%s)", name, stall, err, cell)
			}
			if !strings.HasPrefix(cell, c.twin.String()) {
				t.Errorf("%s: the table does not say how long the twin stood still: %q", name, cell)
			}
		}
	}
}

// Rows that need an end of a transaction, its id or its timeout have no twin, and say so; all
// others have one, and say when it was not played.
func TestRowsWithoutATwin(t *testing.T) {
	t.Parallel()
	for i := range failures {
		of := &failures[i]
		want, alone := "not played", of.gate || of.number == 5 || of.number == 9
		if alone {
			want = "–"
		}
		cell, err := standsStill(of, time.Hour).beside(nil)
		if cell != want || err != nil || alone != (of.twin == 0) {
			t.Errorf("%d %s: the table says %q, %v, and at-least-once may take %s; want %q", of.number, of.what, cell, err, of.twin, want)
		}
	}
}

// A twin is held to what at-least-once promises: no loss, and no repeat where nothing dies that had
// unacknowledged units.
func TestATwinKeepsWhatItPromises(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		twin
		may   bool // outputs come again
		wrong bool
	}{
		{twin{}, false, false},
		{twin{repeated: 1}, true, false},
		{twin{repeated: 1}, false, true},
		{twin{lost: 1}, true, true},
		{twin{lost: -1}, true, true}, // outputs of inputs that nobody wrote
	} {
		if err := c.kept(&failure{repeats: c.may}); (err != nil) != c.wrong {
			t.Errorf("%+v, which may repeat (%t), is judged %v", c.twin, c.may, err)
		}
	}
}
