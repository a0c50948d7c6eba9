package ackmark

import "math"

// Advance takes the word of who reads the inputs that all below an index are done, and that the
// next one has this offset or a higher one: for a receiver to which some of them never came, and
// whose mark they would hold for ever.
//
// It returns false, and changes nothing, for an index at the mark or below it, while the entry at
// the mark is here, whose end is known here first, and for what contradicts the entries that are.
func (t *Tracker) Advance(index uint64, offset int64) bool {
	if index <= t.base || t.arrived(t.base) || offset < t.below || offset == math.MaxInt64 || uint64(offset-t.below) < index-t.base {
		return false
	}
	if index >= t.upper {
		if offset < t.next {
			return false
		}
	} else {
		i := min(t.seek(t.open, index), t.seek(t.done, index)) // the entry below upper has arrived
		if o := t.ring[t.slot(i)].offset; o < offset || uint64(o-offset) < i-index {
			return false
		}
	}
	for i := t.base; i < min(index, t.upper); i++ {
		t.drop(i)
	}
	t.base, t.upper = index, max(t.upper, index)
	t.below, t.next = offset, max(t.next, offset)
	switch {
	case t.doneAbove > 0:
		t.cross()
	case t.base >= t.reviewAt:
		t.review()
	}
	return true
}

// drop forgets an entry, if there is one: what it was told of is done.
func (t *Tracker) drop(index uint64) {
	w, bit := t.bit(index)
	switch {
	case t.open[w]&bit != 0:
		t.open[w] &^= bit
		if t.staged != nil {
			t.staged[w] &^= bit
		}
		t.pending--
		t.bytes -= t.ring[t.slot(index)].size
	case t.done[w]&bit != 0:
		t.done[w] &^= bit
		t.doneAbove--
	}
}
