package ackmark

import (
	"fmt"
	"iter"
	"math"
	"math/bits"
)

// Tracker follows the inputs of one partition during one assignment epoch. It is not safe for
// concurrent use. The zero value is not usable: see [New].
//
// Invariants, between any two calls:
//
//   - an index in [base, upper) is open, done, or has not arrived (only with Put); no other index
//     has a bit set;
//   - the entry at base is not done: if it were, the mark would have crossed it;
//   - the offsets of arrived neighbours increase, so whatever the mark crosses it crosses in order
//     of offsets;
//   - Mark never decreases.
type Tracker struct {
	ring  []entry  // by index modulo its length, a power of two ≥ wordBits; nil before the first entry
	open  []uint64 // bit set: arrived and not done
	done  []uint64 // bit set: done, and not yet crossed by the mark
	limit uint64

	staged []uint64 // bit set: open, and done if a transaction commits; nil before the first Stage

	base  uint64 // the mark's index: all entries below it are done and forgotten
	upper uint64 // one above the highest index that arrived
	below int64  // what the mark is while the entry at base has not arrived: everything below this offset is done
	next  int64  // one above the highest offset that arrived or was skipped

	pending   int
	doneAbove int
	bytes     int64

	peak     uint64 // the most entries from the mark upwards since reviewAt was set
	reviewAt uint64 // when the mark reaches this index, the ring is reviewed
	kept     uint64 // a ring of this length, or below, is not given back
}

type entry struct {
	offset int64
	size   int64
}

// New returns a tracker whose mark is start until something above it is done. It holds at most
// limit entries from the mark upwards, done ones included: their slots come free when the mark
// crosses them. Memory grows by doubling with the need, to about 16 bytes × limit, and shrinks when
// a while has shown that a quarter is enough: see [Tracker.Room]. A limit below 1 panics.
func New(start int64, limit int) *Tracker {
	if limit < 1 {
		panic(fmt.Sprintf("ackmark: New with limit %d: at least 1 is needed", limit))
	}
	return &Tracker{limit: uint64(limit), below: start, next: start, kept: keptRing}
}

// Add enters the input at this offset, of this many bytes, and returns its index: 0, 1, 2 … without
// gaps whatever the offsets do. It returns false, and changes nothing, when the tracker is full.
//
// Offsets come in fetch order: each at or above [Tracker.Next]. A lower one panics, because an
// input that was fetched twice or out of order means that the fetch position was moved under a
// living epoch, and any mark computed from then on could lie.
func (t *Tracker) Add(offset int64, size int) (index uint64, ok bool) {
	if offset < t.next {
		panic(fmt.Sprintf("ackmark: Add(%d) below the next offset %d: a moved fetch position needs a new assignment epoch", offset, t.next))
	}
	if t.upper-t.base >= t.limit {
		return 0, false
	}
	index = t.upper
	t.insert(index, offset, size)
	return index, true
}

// Put enters the input that its sender calls index, for a receiver that learns entries in any
// order. The mark crosses only entries that arrived: a missing one holds it like one that is not
// done.
//
// Put returns false, and changes nothing, for an index that arrived before, lies below the mark, or
// lies [New]'s limit or more above it, and for an offset that contradicts the order of its
// neighbours: a peer can say anything, and must not be able to move the mark wrongly.
func (t *Tracker) Put(index uint64, offset int64, size int) bool {
	if index < t.base || index-t.base >= t.limit || t.arrived(index) || !t.fits(index, offset) {
		return false
	}
	t.insert(index, offset, size)
	return true
}

// fits tells whether an offset keeps the order at index. Looking at the direct neighbours is
// enough: the mark crosses a run only when all of it arrived, and by then every adjacent pair was
// compared by whichever came second.
func (t *Tracker) fits(index uint64, offset int64) bool {
	if offset < t.below || offset == math.MaxInt64 || uint64(offset-t.below) < index-t.base {
		return false // even without gaps there is no room for the entries between; and no mark above the last offset there is
	}
	if index > t.base && t.arrived(index-1) && t.ring[t.slot(index-1)].offset >= offset {
		return false
	}
	return !t.arrived(index+1) || offset < t.ring[t.slot(index+1)].offset
}

func (t *Tracker) insert(index uint64, offset int64, size int) {
	if index-t.base >= uint64(len(t.ring)) {
		t.grow(index - t.base + 1)
	}
	t.ring[t.slot(index)] = entry{offset: offset, size: int64(size)}
	w, bit := t.bit(index)
	t.open[w] |= bit
	t.pending++
	t.bytes += int64(size)
	t.upper = max(t.upper, index+1)
	t.peak = max(t.peak, t.upper-t.base)
	t.next = max(t.next, offset+1)
}

// Done ends the input with this index. The first call wins: false means that it was done already,
// lies below the mark, or never arrived.
func (t *Tracker) Done(index uint64) bool {
	if index < t.base || index >= t.upper {
		return false
	}
	w, bit := t.bit(index)
	if t.open[w]&bit == 0 {
		return false
	}
	t.open[w] &^= bit
	if t.staged != nil {
		t.staged[w] &^= bit
	}
	t.pending--
	e := &t.ring[t.slot(index)]
	t.bytes -= e.size
	if index == t.base && t.doneAbove == 0 { // in order, the usual case: nothing waits behind it
		t.base++
		t.pass(e.offset)
		if t.base >= t.reviewAt {
			t.review()
		}
		return true
	}
	t.done[w] |= bit
	t.doneAbove++
	if index == t.base {
		t.cross()
	}
	return true
}

// DoneRange ends the n inputs from this index on, and returns how many of them this call ended:
// like n calls of [Tracker.Done], but at the price of a few for each 64.
func (t *Tracker) DoneRange(index uint64, n int) int {
	first, end := t.clamp(index, n)
	ended := 0
	for i := first; i < end; {
		stop := min(end, (i|(wordBits-1))+1)
		ended += t.doneInWord(i, stop)
		i = stop
	}
	t.pending -= ended
	t.doneAbove += ended
	if ended > 0 && first == t.base {
		t.cross()
	}
	return ended
}

// clamp cuts a range to the entries that can be open. A range from a peer may overflow; the
// comparison with upper-index cannot.
func (t *Tracker) clamp(index uint64, n int) (first, end uint64) {
	if n <= 0 || index >= t.upper {
		return 0, 0
	}
	end = index + min(uint64(n), t.upper-index)
	return max(index, t.base), end
}

// doneInWord ends the open entries among [first, end), which lie in one word of the bitmaps, hence
// in adjacent slots of the ring.
func (t *Tracker) doneInWord(first, end uint64) int {
	w, _ := t.bit(first)
	hit := t.open[w] & (ones(end-first) << (first % wordBits))
	t.open[w] &^= hit
	if t.staged != nil {
		t.staged[w] &^= hit
	}
	t.done[w] |= hit
	ended := bits.OnesCount64(hit)
	if uint64(ended) == end-first {
		for _, e := range t.ring[t.slot(first):][:ended] {
			t.bytes -= e.size
		}
		return ended
	}
	for word := t.slot(first) &^ (wordBits - 1); hit != 0; hit &= hit - 1 {
		t.bytes -= t.ring[word+uint64(bits.TrailingZeros64(hit))].size
	}
	return ended
}

// cross moves the mark over the run of done entries that starts at it. There is none when a range
// ended entries behind one that has not arrived.
func (t *Tracker) cross() {
	from := t.base
	for {
		w, _ := t.bit(t.base)
		shift := t.base % wordBits
		run := uint64(bits.TrailingZeros64(^(t.done[w] >> shift)))
		t.done[w] &^= ones(run) << shift
		t.base += run
		t.doneAbove -= int(run)
		if run < wordBits-shift || t.doneAbove == 0 {
			break
		}
	}
	if t.base == from {
		return
	}
	t.pass(t.ring[t.slot(t.base-1)].offset)
	if t.base >= t.reviewAt {
		t.review()
	}
}

// pass notes the offset of the last entry that the mark crossed.
func (t *Tracker) pass(offset int64) {
	t.below = offset + 1
	if t.base == t.upper {
		t.below = t.next // what was skipped behind the last entry is crossed with it
	}
}

// Skip tells that the fetch position moved to this offset without inputs on the way: control
// records, aborted transactions, or what compaction removed. The mark crosses such a gap as soon as
// nothing below it is pending. A lower offset than [Tracker.Next] changes nothing.
func (t *Tracker) Skip(to int64) {
	t.next = max(t.next, to)
	if t.base == t.upper {
		t.below = t.next
	}
}

// Mark returns the ack mark: the first offset that is not done, or [Tracker.Next] when all are. It
// never decreases.
func (t *Tracker) Mark() int64 {
	if t.arrived(t.base) {
		return t.ring[t.slot(t.base)].offset
	}
	return t.below
}

// MarkIndex returns the index of the first entry that is not done: of the next one to arrive, when
// all are.
func (t *Tracker) MarkIndex() uint64 { return t.base }

// Next returns the lowest offset that [Tracker.Add] takes: one above the highest that was added, or
// where the tracker started or was skipped to.
func (t *Tracker) Next() int64 { return t.next }

// Pending returns the number of entries that arrived and are not done.
func (t *Tracker) Pending() int { return t.pending }

// PendingBytes returns the sum of their sizes.
func (t *Tracker) PendingBytes() int64 { return t.bytes }

// DoneAbove returns the number of entries above the mark that are done: what would be handed out
// again if the process died now, although nothing is wrong with it.
func (t *Tracker) DoneAbove() int { return t.doneAbove }

// Oldest returns the first entry that arrived and is not done, or false when there is none.
func (t *Tracker) Oldest() (offset int64, index uint64, ok bool) {
	i := t.seek(t.open, t.base)
	if i == t.upper {
		return 0, 0, false
	}
	return t.ring[t.slot(i)].offset, i, true
}

// DoneSet yields the done offsets above the mark as ranges [first, last], in order. A range may
// span offsets that do not exist, never one that is pending or, with [Tracker.Put], may still
// arrive. The tracker must not change during the iteration.
func (t *Tracker) DoneSet() iter.Seq2[int64, int64] {
	return func(yield func(first, last int64) bool) {
		for left, i := t.doneAbove, t.base; left > 0; {
			first := t.seek(t.done, i)
			i = t.seekEnd(t.done, first)
			left -= int(i - first)
			if !yield(t.ring[t.slot(first)].offset, t.ring[t.slot(i-1)].offset) {
				return
			}
		}
	}
}

// DoneRun returns the first run of done entries above the mark among those with the indices from
// index on and below end: its first and last offset, as [Tracker.DoneSet] yields them, and the
// index behind it. False: there is none.
func (t *Tracker) DoneRun(index, end uint64) (first, last int64, next uint64, ok bool) {
	index, end = max(index, t.base), min(end, t.upper)
	if index >= end || t.doneAbove == 0 {
		return 0, 0, end, false
	}
	if index = t.seek(t.done, index); index >= end {
		return 0, 0, end, false
	}
	next = min(end, t.seekEnd(t.done, index))
	return t.ring[t.slot(index)].offset, t.ring[t.slot(next-1)].offset, next, true
}

// Entries yields what lies from the mark on, in order: the offset of each entry and whether it is
// done, or -1 for one that has not arrived (only with Put). The tracker must not change during the
// iteration.
func (t *Tracker) Entries() iter.Seq2[int64, bool] {
	return func(yield func(offset int64, done bool) bool) {
		for i := t.base; i < t.upper; i++ {
			offset, done := int64(-1), false
			w, bit := t.bit(i)
			if (t.open[w]|t.done[w])&bit != 0 {
				offset, done = t.ring[t.slot(i)].offset, t.done[w]&bit != 0
			}
			if !yield(offset, done) {
				return
			}
		}
	}
}
