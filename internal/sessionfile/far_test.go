//go:build (linux || darwin) && !portable

package sessionfile

import (
	"math"
	"testing"
	"time"
)

func within(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatal("hangs")
	}
}

// A client may name any offset: the store must not walk there.
func TestAFarOffsetIsNotWalkedTo(t *testing.T) {
	for name, c := range map[string]struct{ start, to int64 }{
		"far": {0, 1 << 61}, "last": {0, math.MaxInt64 - 1}, "gap of a compacted topic": {0, 1 << 42},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Open(t.TempDir(), DefaultLimit)
			if err != nil {
				t.Fatal(err)
			}
			f, err := d.Create(Session{ID: "s"})
			if err != nil {
				t.Fatal(err)
			}
			e, err := f.Enter(&Assignment{Group: "g", Member: "m", Topic: "t", Epoch: 1, Start: c.start})
			if err != nil {
				t.Fatal(err)
			}
			e.Done(c.start+5, c.start+9)
			within(t, time.Second, func() { e.Advance(c.to) })
			if got := e.cell.mark(); got != c.to {
				t.Errorf("mark %d", got)
			}
			if r := e.cell.runs(); len(r) != 0 {
				t.Errorf("runs %v", r)
			}
		})
	}
}

func TestANegativeStartIsRefused(t *testing.T) {
	d, _ := Open(t.TempDir(), DefaultLimit)
	f, err := d.Create(Session{ID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.Enter(&Assignment{Group: "g", Member: "m", Topic: "t", Epoch: 1, Start: math.MinInt64})
	if err == nil {
		t.Error("entered")
		within(t, time.Second, func() { e.Advance(1) })
	}
}

// Every membership takes blocks, and is to be in the limit.
func TestMembershipsAreInTheLimit(t *testing.T) {
	d, _ := Open(t.TempDir(), DefaultLimit)
	f, err := d.Create(Session{ID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(maxMembers) {
		if err := f.SetMembership(Membership{Group: "g", Consumer: i, ID: "m"}); err != nil {
			t.Fatal(err)
		}
	}
	if least := int64(headerBytes + maxMembers*2*copyTaken); d.Used() < least {
		t.Errorf("accounted %d, taken at least %d", d.Used(), least)
	}
	f.Close(true)
	if d.Used() != 0 {
		t.Errorf("%d left", d.Used())
	}
}
