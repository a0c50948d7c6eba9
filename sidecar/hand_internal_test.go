package sidecar

import "testing"

const plenty = 1 << 30 // of what may be in hand

// A transaction is ended early when enough wait for it, each one once; what is in the one before it
// does not count, nor does what was decided.
func TestEnoughEndTheirTransactionEarly(t *testing.T) {
	var c inHand
	c.credit.Store(400) // three quarters of it are enough
	step := 0
	comes := func(records int64, want bool) {
		t.Helper()
		if step++; c.comes(records, plenty) != want {
			t.Errorf("step %d: of %d records that come, %d in hand and %d in a transaction that ends, enough wait: %t", step, records, c.records.Load(), c.closing.Load(), !want)
		}
	}
	comes(180, false)
	comes(120, true)
	comes(30, false) // it was told
	c.closes()
	comes(299, false)
	c.goes(150) // of the 330 that end
	comes(1, true)
	c.goes(180)
	comes(1, false)
	c.closes()
	comes(150, false)
	c.goes(301)
	comes(149, false)
	comes(1, true)
	c.goes(300)
	if n := c.records.Load(); n != 0 || c.closing.Load() != 0 {
		t.Errorf("%d in hand, %d in a transaction that ends, when all is decided", n, c.closing.Load())
	}
}

// What was aborted and is tried again in the next transaction counts once.
func TestWhatIsTriedAgainIsCountedOnce(t *testing.T) {
	var c inHand
	c.credit.Store(400)
	c.comes(240, plenty)
	for range 3 {
		c.closes()
	}
	if c.comes(299, plenty) || !c.comes(1, plenty) {
		t.Error("behind a transaction that was aborted twice, other than 300 are enough")
	}
	c.closes()
	c.goes(540)
	if c.comes(299, plenty) || !c.comes(1, plenty) {
		t.Error("behind one that has ended at last, other than 300 are enough")
	}
}

// Who can have less in hand than its credit does not wait for what never comes.
func TestFewPartitionsAreEnoughEarlier(t *testing.T) {
	var c inHand
	c.credit.Store(400)
	if c.comes(149, 200) || !c.comes(1, 200) {
		t.Error("of 200 that may be in hand, other than 150 are enough")
	}
	var none inHand
	if none.comes(0, 0) || !none.comes(1, 0) {
		t.Error("with nothing known of what may be in hand, other than one is enough")
	}
}
