package producer

import (
	"fmt"
	"math"
	"sort"
)

// window holds every unit that the sidecar client has taken and not reported, in order: encoded, in frames, under the sequence numbers of the
// current stream. It is pure: no lock, clock or goroutine; the client's lock guards it.
//
//	base                unsent                 next
//	 |  sent, some reported |  taken, not sent   |
//	 [ frame ][ frame ][fr. ][ frame ][ open fr. ]
//
// Invariants: frames and entries each cover [base, next) without gaps; unsent is the beginning of a frame; sequence numbers on one stream are
// consecutive. A new stream starts again at 1 with what is not reported (rebuild), so a number of an old stream cannot be taken for one of
// the new (S12). A list of number segments per stream would have spared the copying, at the price of a mapping on every report.
type window struct {
	slots   []slotInfo // ring by sequence number; length zero or a power of two
	entries deque[entry]
	frames  deque[*frame]
	base    uint64 // first sequence number that is still described by a slot
	unsent  uint64
	next    uint64
	taken   cost // taken and not reported
	sent    cost // of them sent
	pool    framePool
	out     func(fate) // receives the fates of units, in the order in which they are known
}

// slotInfo is what the window knows about one unit.
type slotInfo struct {
	epoch   uint64
	bytes   uint32
	records uint32 // with reportedBit
}

const reportedBit = 1 << 31

func (s slotInfo) reported() bool { return s.records&reportedBit != 0 }

func (s slotInfo) cost() cost { return cost{int64(s.bytes), int(s.records &^ reportedBit)} }

// entry maps consecutive sequence numbers to consecutive units of one call.
type entry struct {
	first uint64
	n     int
	left  int // not reported
	index int // of the first unit in its call
	call  callRef
}

// callRef names a call of Deliver.
type callRef struct {
	id    uint64
	r     Reporter
	batch *batch
}

// fate is what the Reporter of a call has to be told.
type fate struct {
	call     callRef
	index, n int
	err      *Error // nil: acked
}

// newWindow returns an empty window. Fates go to out.
func newWindow(pool framePool, out func(fate)) *window {
	return &window{base: 1, unsent: 1, next: 1, pool: pool, out: out}
}

func (c *cost) add(o cost) { c.bytes += o.bytes; c.records += o.records }
func (c *cost) sub(o cost) { c.bytes -= o.bytes; c.records -= o.records }

func (c cost) within(limit cost) bool { return c.bytes <= limit.bytes && c.records <= limit.records }

func (w *window) slot(seq uint64) *slotInfo { return &w.slots[seq&uint64(len(w.slots)-1)] }

// add takes the unit that was encoded at the end of the open frame: its last size bytes.
func (w *window) add(epoch uint64, size, records int, call callRef, index int) {
	if int(w.next-w.base) == len(w.slots) {
		w.growSlots()
	}
	s := slotInfo{epoch, uint32(size), uint32(records)}
	*w.slot(w.next) = s
	w.taken.add(s.cost())
	f := *w.frames.at(w.frames.len() - 1)
	f.n++
	f.left++
	f.cost.add(s.cost())
	w.cover(call, index)
	w.next++
}

// cover makes the entry for the unit next.
func (w *window) cover(call callRef, index int) {
	if n := w.entries.len(); n > 0 {
		if e := w.entries.at(n - 1); e.call.id == call.id && e.index+e.n == index {
			e.n++
			e.left++
			return
		}
	}
	w.entries.push(entry{first: w.next, n: 1, left: 1, index: index, call: call})
}

func (w *window) growSlots() {
	old := w.slots
	w.slots = make([]slotInfo, max(64, 2*len(old)))
	for seq := w.base; seq < w.next; seq++ {
		*w.slot(seq) = old[seq&uint64(len(old)-1)]
	}
}

// open returns the frame that takes the next unit.
func (w *window) open() *frame {
	if n := w.frames.len(); n > 0 {
		if f := *w.frames.at(n - 1); !f.full() {
			return f
		}
	}
	f := w.pool.open(w.next)
	w.frames.push(f)
	return f
}

// send takes the next units that may be sent under the credit: a frame, or the first part of one. What is larger than the whole
// credit goes alone. limit bounds the bytes of a message; 0: none. Nil: nothing may be sent now.
func (w *window) send(credit cost, limit int) *frame {
	if w.unsent == w.next {
		return nil
	}
	i := w.frameIndex(w.unsent)
	f := *w.frames.at(i)
	n := f.n
	if limit == 0 {
		limit = math.MaxInt
	}
	if sum := f.cost; !w.fits(&sum, credit) || f.cost.bytes > int64(limit) {
		if n = w.prefix(f, credit, int64(limit)); n == 0 {
			return nil // and the frame stays open for more units
		}
	}
	f.seal()
	f = w.split(i, n)
	w.unsent = f.first + uint64(f.n)
	w.sent.add(f.cost)
	return f
}

func (w *window) fits(c *cost, credit cost) bool {
	c.add(w.sent)
	return c.within(credit)
}

// prefix returns how many units of an unsent frame the credit and the limit of a message allow.
func (w *window) prefix(f *frame, credit cost, limit int64) int {
	var sum cost
	for n := range f.n {
		sum.add(w.slot(f.first + uint64(n)).cost())
		if with := sum; !w.fits(&with, credit) || n > 0 && sum.bytes > limit {
			if n == 0 && w.sent == (cost{}) {
				return 1 // alone, or it would wait for ever
			}
			return n
		}
	}
	return f.n
}

// split cuts the frame at index i after n units and returns the first part.
func (w *window) split(i, n int) *frame {
	f := *w.frames.at(i)
	if n == f.n {
		return f
	}
	var head cost
	for k := range n {
		head.add(w.slot(f.first + uint64(k)).cost())
	}
	rest := f.split(n, head)
	w.frames.push(nil)
	for k := w.frames.len() - 1; k > i+1; k-- {
		*w.frames.at(k) = *w.frames.at(k - 1)
	}
	*w.frames.at(i + 1) = rest
	return f
}

func (w *window) frameIndex(seq uint64) int {
	return sort.Search(w.frames.len(), func(i int) bool { return (*w.frames.at(i)).first > seq }) - 1
}

func (w *window) entryIndex(seq uint64) int {
	if w.entries.len() > 0 && seq < w.entries.at(0).first+uint64(w.entries.at(0).n) {
		return 0
	}
	return sort.Search(w.entries.len(), func(i int) bool { return w.entries.at(i).first > seq }) - 1
}

// check demands that these sequence numbers were sent on this stream and not reported. Anything else is not the truth about our units:
// the stream must be broken before one of them is touched (S12).
func (w *window) check(first, n uint64) error {
	switch {
	case n == 0:
		return fmt.Errorf("a report of an empty range at %d", first)
	case first == 0 || first >= w.unsent || n > w.unsent-first:
		return fmt.Errorf("a report of [%d, +%d), but only 1 to %d were sent on this stream", first, n, w.unsent-1)
	case first < w.base:
		return fmt.Errorf("a second report of %d", first)
	}
	for seq := first; seq < first+n; seq++ {
		if w.slot(seq).reported() {
			return fmt.Errorf("a second report of %d", seq)
		}
	}
	return nil
}

// report ends n units from first, that passed check. err nil: acked.
func (w *window) report(first uint64, n int, err *Error) {
	for i := w.entryIndex(first); n > 0; i++ {
		e := w.entries.at(i)
		skip := int(first - e.first)
		m := min(n, e.n-skip)
		e.left -= m
		w.mark(first, m)
		w.out(fate{e.call, e.index + skip, m, err})
		first += uint64(m)
		n -= m
	}
	w.trim()
}

// mark sets units to reported and gives their space back.
func (w *window) mark(first uint64, n int) {
	for i, seq := w.frameIndex(first), first; seq < first+uint64(n); i++ {
		f := *w.frames.at(i)
		end := min(f.first+uint64(f.n), first+uint64(n))
		for ; seq < end; seq++ {
			s := w.slot(seq)
			w.taken.sub(s.cost())
			if seq < w.unsent {
				w.sent.sub(s.cost())
			}
			s.records |= reportedBit
			f.left--
		}
		if f.left == 0 && f.full() {
			f.free() // sent or dropped as a whole: nobody sends it again
		}
	}
}

// trim forgets the frames and entries at the front of which everything is reported.
func (w *window) trim() {
	for w.entries.len() > 0 && w.entries.at(0).left == 0 {
		w.entries.pop()
	}
	for w.frames.len() > 0 {
		f := *w.frames.at(0)
		if f.left > 0 || f.first+uint64(f.n) > w.unsent || f.n == 0 {
			break
		}
		f.free()
		w.frames.pop()
	}
	w.base = w.next
	if w.frames.len() > 0 {
		w.base = (*w.frames.at(0)).first
	}
	if w.entries.len() > 0 {
		w.base = min(w.base, w.entries.at(0).first)
	}
}

// failWhere fails the units from seq on that bad names an error for. The others keep their sequence numbers, so it leaves holes: only for
// what was sent, or while there is no stream.
func (w *window) failWhere(seq uint64, bad func(slotInfo) *Error) {
	for seq = max(seq, w.base); seq < w.next; seq++ {
		s := *w.slot(seq)
		if s.reported() {
			continue
		}
		if err := bad(s); err != nil {
			e := w.entries.at(w.entryIndex(seq))
			e.left--
			w.mark(seq, 1)
			w.out(fate{e.call, e.index + int(seq-e.first), 1, err})
		}
	}
}

// rebuild gives the units that are not reported, from the sequence number from on, new consecutive numbers beginning with first, as unsent,
// in their order (S7). Units that bad names an error for fail instead. What lies below from stays as it is.
func (w *window) rebuild(from, first uint64, bad func(slotInfo) *Error) {
	if bad != nil {
		w.failWhere(from, bad)
	}
	old := *w
	*w = window{base: first, unsent: first, next: first, pool: old.pool, out: old.out}
	if from > old.base { // the lower part stays: only entries and frames above from are made anew
		w.keepBelow(&old, from)
	}
	for i := range old.frames.len() {
		f := *old.frames.at(i)
		if f.first < from && from > old.base {
			continue
		}
		old.move(f, w)
		f.free()
	}
}

// keepBelow takes over what lies below from, which is the beginning of a frame.
func (w *window) keepBelow(old *window, from uint64) {
	w.base = old.base
	w.sent = old.sent
	w.taken = old.sent
	w.next = from
	w.unsent = from
	w.slots = make([]slotInfo, len(old.slots))
	for seq := old.base; seq < from; seq++ {
		*w.slot(seq) = *old.slot(seq)
	}
	for i := range old.frames.len() {
		if f := *old.frames.at(i); f.first < from {
			w.frames.push(f)
		}
	}
	for i := range old.entries.len() {
		e := *old.entries.at(i)
		if e.first >= from {
			break
		}
		if over := int(e.first+uint64(e.n)) - int(from); over > 0 {
			for seq := from; seq < e.first+uint64(e.n); seq++ {
				if !old.slot(seq).reported() {
					e.left--
				}
			}
			e.n -= over
		}
		w.entries.push(e)
	}
}

// move copies the unreported units of one of w's frames to the end of to.
func (w *window) move(f *frame, to *window) {
	if f.left == 0 {
		return // its buffer is given back already
	}
	data := f.bytes()
	for k := range f.n {
		seq := f.first + uint64(k)
		s := *w.slot(seq)
		size := int(s.bytes)
		if !s.reported() {
			e := w.entries.at(w.entryIndex(seq))
			target := to.open()
			target.data = append(target.data, data[:size]...)
			to.add(s.epoch, size, int(s.records), e.call, e.index+int(seq-e.first))
		}
		data = data[size:]
	}
}

// maxUnit is the largest unit that a slot can describe; every sidecar's limit is far below.
const maxUnit = math.MaxUint32
