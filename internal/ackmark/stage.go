package ackmark

import (
	"iter"
	"math/bits"
)

// Staged entries are open ones whose outcome hangs on a transaction: if it commits they are done
// ([Tracker.Settle]), if not they are open as before ([Tracker.Unstage]). What a commit inside that
// transaction must say counts them as done already: [Tracker.MarkStaged], [Tracker.EntriesStaged].
// A tracker that never stages pays nothing: there is no bitmap before the first Stage.

// Stage notes that the open ones among the n inputs from this index on are done if what is under
// way succeeds, and returns how many that are. One that is staged already is not counted again.
func (t *Tracker) Stage(index uint64, n int) int {
	first, end := t.clamp(index, n)
	if first >= end {
		return 0
	}
	if t.staged == nil {
		t.staged = make([]uint64, len(t.open))
	}
	fresh := 0
	for i := first; i < end; {
		stop := min(end, (i|(wordBits-1))+1)
		w, _ := t.bit(i)
		hit := t.open[w] &^ t.staged[w] & (ones(stop-i) << (i % wordBits))
		t.staged[w] |= hit
		fresh += bits.OnesCount64(hit)
		i = stop
	}
	return fresh
}

// Unstage takes back every Stage: what was under way did not happen.
func (t *Tracker) Unstage() { clear(t.staged) }

// Settle ends every staged input, and returns how many that were.
func (t *Tracker) Settle() int {
	ended := 0
	if t.staged == nil {
		return 0
	}
	for i := t.seek(t.staged, t.base); i < t.upper; i = t.seek(t.staged, i) {
		end := t.seekEnd(t.staged, i)
		ended += t.DoneRange(i, int(end-i))
		i = end
	}
	return ended
}

// firstUnstaged is the first index that is neither done nor staged: the mark's, if all that is
// staged were done.
func (t *Tracker) firstUnstaged() uint64 {
	for i := t.base; i < t.upper; i = (i | (wordBits - 1)) + 1 {
		w, _ := t.bit(i)
		word := t.done[w]
		if t.staged != nil {
			word |= t.staged[w]
		}
		if word = ^word >> (i % wordBits); word != 0 {
			return min(t.upper, i+uint64(bits.TrailingZeros64(word)))
		}
	}
	return t.upper
}

// MarkStaged returns what [Tracker.Mark] would be if all that is staged were done.
func (t *Tracker) MarkStaged() int64 {
	i := t.firstUnstaged()
	switch {
	case i == t.base:
		return t.Mark()
	case i == t.upper:
		return t.next
	case t.arrived(i):
		return t.ring[t.slot(i)].offset
	}
	return t.ring[t.slot(i-1)].offset + 1
}

// OldestUnstaged returns the first entry that arrived and is neither done nor staged, or false when
// there is none.
func (t *Tracker) OldestUnstaged() (offset int64, ok bool) {
	for offset, done := range t.EntriesStaged() {
		if offset >= 0 && !done {
			return offset, true
		}
	}
	return 0, false
}

// EntriesStaged yields what [Tracker.Entries] would if all that is staged were done, but from the
// same mark on. The tracker must not change during the iteration.
func (t *Tracker) EntriesStaged() iter.Seq2[int64, bool] {
	return func(yield func(offset int64, done bool) bool) {
		i := t.base
		for offset, done := range t.Entries() {
			if t.staged != nil && !done && offset >= 0 {
				w, bit := t.bit(i)
				done = t.staged[w]&bit != 0
			}
			if !yield(offset, done) {
				return
			}
			i++
		}
	}
}

// Holds tells whether the input with this index arrived, and whether it is not done.
func (t *Tracker) Holds(index uint64) (arrived, open bool) {
	if index < t.base || index >= t.upper {
		return index < t.base, false
	}
	w, bit := t.bit(index)
	return (t.open[w]|t.done[w])&bit != 0, t.open[w]&bit != 0
}
