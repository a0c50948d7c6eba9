package sidecar

import "testing"

// A transaction is ended early when enough wait for it, each one once; what is in the one before it
// does not count, nor does what was decided.
func TestEnoughEndTheirTransactionEarly(t *testing.T) {
	var c inHand
	c.enough.Store(100)
	step := 0
	comes := func(records int64, want bool) {
		t.Helper()
		if step++; c.comes(records) != want {
			t.Errorf("step %d: of %d records that come, %d in hand and %d in a transaction that ends, enough wait: %t", step, records, c.records.Load(), c.closing.Load(), !want)
		}
	}
	comes(60, false)
	comes(40, true)
	comes(10, false) // it was told
	c.closes()
	comes(99, false)
	c.goes(50) // of the 110 that end
	comes(1, true)
	c.goes(60)
	comes(1, false)
	c.closes()
	comes(50, false)
	c.goes(101)
	comes(49, false)
	comes(1, true)
	c.goes(100)
	if n := c.records.Load(); n != 0 || c.closing.Load() != 0 {
		t.Errorf("%d in hand, %d in a transaction that ends, when all is decided", n, c.closing.Load())
	}
}

// What was aborted and is tried again in the next transaction counts once.
func TestWhatIsTriedAgainIsCountedOnce(t *testing.T) {
	var c inHand
	c.enough.Store(100)
	c.comes(80)
	for range 3 {
		c.closes()
	}
	if c.comes(99) || !c.comes(1) {
		t.Error("behind a transaction that was aborted twice, other than a hundred are enough")
	}
	c.closes()
	c.goes(180)
	if c.comes(99) || !c.comes(1) {
		t.Error("behind one that has ended at last, other than a hundred are enough")
	}
}
