package ackmark

import "math/bits"

// wordBits is the number of entries that one word of a bitmap covers. The ring is a multiple of it,
// so a word's entries are neighbours there.
const wordBits = 64

// keptRing is a ring that is kept: 16 KiB. To give back less and take it again is not worth it.
const keptRing = 1024

// ones returns a word with the n lowest bits set, n ≤ 64.
func ones(n uint64) uint64 { return 1<<n - 1 }

// slot is the place of an index in the ring.
func (t *Tracker) slot(index uint64) uint64 { return index & uint64(len(t.ring)-1) }

// bit is the place of an index in the bitmaps.
func (t *Tracker) bit(index uint64) (word, bit uint64) {
	return t.slot(index) / wordBits, 1 << (index % wordBits)
}

func (t *Tracker) arrived(index uint64) bool {
	if index < t.base || index >= t.upper {
		return false // also the way out while there is no ring
	}
	w, bit := t.bit(index)
	return (t.open[w]|t.done[w])&bit != 0
}

// grow makes room for span entries from the base on, and not for many more. Entries are moved one
// by one: in a full ring the first and the last of them can share a word of the bitmaps, and in the
// larger one they must not. Doubling makes this a constant price for each Add.
func (t *Tracker) grow(span uint64) {
	old := *t
	size := max(wordBits, uint64(1)<<bits.Len64(span-1))
	t.ring = make([]entry, size)
	words := make([]uint64, 2*size/wordBits)
	t.open, t.done = words[:size/wordBits], words[size/wordBits:]
	if old.staged != nil {
		t.staged = make([]uint64, size/wordBits)
	}
	for i := old.base; i < old.upper; i++ {
		t.ring[t.slot(i)] = old.ring[old.slot(i)]
		from, bit := old.bit(i)
		to, _ := t.bit(i)
		t.open[to] |= old.open[from] & bit
		t.done[to] |= old.done[from] & bit
		if old.staged != nil {
			t.staged[to] |= old.staged[from] & bit
		}
	}
}

// Room returns for how many entries memory is held: 0, or a power of two, at least as many as lie
// from the mark upwards.
func (t *Tracker) Room() int { return len(t.ring) }

// review gives back room that was not needed since the last time: one input that takes minutes lets
// thousands come together above it, and an assignment may last for weeks. It comes each time the
// mark has gone round the ring, so it is a constant price for each entry, as growing is.
func (t *Tracker) review() {
	if size := uint64(len(t.ring)); size > t.kept && t.peak <= size/4 {
		t.grow(max(2*t.peak, t.kept))
	}
	t.peak = t.upper - t.base
	t.reviewAt = t.base + uint64(len(t.ring))
}

// Fit gives back all room that is not needed now, for a tracker that rests.
func (t *Tracker) Fit() {
	switch span := t.upper - t.base; {
	case span == 0:
		t.ring, t.open, t.done, t.staged = nil, nil, nil, nil
	case 2*span <= uint64(len(t.ring)):
		t.grow(span)
	}
	t.reviewAt = t.base // the next step of the mark sets it anew
}

// seek returns the first index at or above from whose bit is set, or upper.
func (t *Tracker) seek(bitmap []uint64, from uint64) uint64 { return t.scan(bitmap, from, 0) }

// seekEnd returns the first index at or above from whose bit is not set, or upper.
func (t *Tracker) seekEnd(bitmap []uint64, from uint64) uint64 {
	return t.scan(bitmap, from, ^uint64(0))
}

// scan walks the words of a bitmap, each flipped by invert. A word of a full ring may end with bits
// of the other end of the window: the cut to upper drops them.
func (t *Tracker) scan(bitmap []uint64, from, invert uint64) uint64 {
	for i := from; i < t.upper; i = (i | (wordBits - 1)) + 1 {
		w, _ := t.bit(i)
		if word := (bitmap[w] ^ invert) >> (i % wordBits); word != 0 {
			return min(t.upper, i+uint64(bits.TrailingZeros64(word)))
		}
	}
	return t.upper
}
