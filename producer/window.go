package producer

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// window holds every unit that the sidecar client has taken and not reported, in order: encoded, in
// frames, under the sequence numbers of the current stream. It is pure: no lock, clock or
// goroutine; the client's lock guards it.
//
//	                         unsent                 next
//	    sent, some reported    |  taken, not sent   |
//	[ frame ][ frame ]  [ fr. ][ frame ][ open fr. ]
//
// Invariants: frames and entries are in the order of their sequence numbers and cover every unit
// that is not reported; unsent is the beginning of a frame; numbers in one session are consecutive.
// A session that is new to the sidecar starts again at 1 with what is not reported (rebuild), so a
// number of an old session cannot be taken for one of the new (S12); one that is resumed keeps its
// numbers, and only what the sidecar did not receive gets new ones (window_resume.go). A list of
// number segments per session would have spared the copying, at the price of a mapping on every
// report.
//
// What is reported leaves, also from the middle: one ring over all numbers was not enough, because
// one unit that Kafka does not take for an hour would keep an hour's worth of numbers in memory
// (S9).
type window struct {
	entries     []entry
	frames      []*frame
	deadEntries int // with left 0; removed when they are the majority
	deadFrames  int
	unsent      uint64
	next        uint64
	seen        uint64 // highest number that the sidecar reported in this session: it has received that much
	back        uint64 // beginning of the first frame that the sidecar gave back; 0: none. Nothing is sent until takeBack
	taken       cost   // taken and not reported
	sent        cost   // of them sent
	pool        framePool
	out         func(fate) // receives the fates of units, in the order in which they are known
}

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
	return &window{unsent: 1, next: 1, pool: pool, out: out}
}

func (c *cost) add(o cost) { c.bytes += o.bytes; c.records += o.records }
func (c *cost) sub(o cost) { c.bytes -= o.bytes; c.records -= o.records }

func (c cost) plus(o cost) cost       { return cost{c.bytes + o.bytes, c.records + o.records} }
func (c cost) within(limit cost) bool { return c.bytes <= limit.bytes && c.records <= limit.records }

// open returns the frame that takes the next unit.
func (w *window) open() *frame {
	if n := len(w.frames); n > 0 {
		if f := w.frames[n-1]; !f.full() {
			return f
		}
	}
	f := w.pool.open(w.next)
	w.frames = append(w.frames, f)
	return f
}

// add takes the unit that was encoded at the end of the open frame: its last size bytes.
func (w *window) add(epoch uint64, size, records int, call callRef, index int) {
	s := slotInfo{epoch, uint32(size), uint32(records)}
	w.taken.add(s.cost())
	w.frames[len(w.frames)-1].add(s)
	w.cover(call, index)
	w.next++
}

// cover makes the entry for the unit next.
func (w *window) cover(call callRef, index int) {
	if n := len(w.entries); n > 0 {
		if e := &w.entries[n-1]; e.left > 0 && e.call.id == call.id && e.index+e.n == index && e.first+uint64(e.n) == w.next {
			e.n++
			e.left++
			return
		}
	}
	w.entries = append(w.entries, entry{first: w.next, n: 1, left: 1, index: index, call: call})
}

// send takes the next units that may be sent under the credit: a frame, or the first part of one.
// What is larger than the whole credit goes alone. limit bounds the bytes of a message; 0: none.
// Nil: nothing may be sent now.
func (w *window) send(credit cost, limit int) *frame {
	if w.unsent == w.next || w.back != 0 {
		return nil
	}
	if limit == 0 {
		limit = math.MaxInt
	}
	i := w.frameOf(w.unsent)
	f := w.frames[i]
	n := f.len()
	if !w.sent.plus(f.cost).within(credit) || f.cost.bytes > int64(limit) {
		if n = w.prefix(f, credit, int64(limit)); n == 0 {
			return nil // and the frame stays open for more units
		}
	}
	f.seal()
	if n < f.len() {
		w.frames = slices.Insert(w.frames, i+1, f.split(n))
	}
	w.unsent = f.end()
	w.sent.add(f.cost)
	return f
}

// prefix returns how many units of an unsent frame the credit and the limit of a message allow.
func (w *window) prefix(f *frame, credit cost, limit int64) int {
	var sum cost
	for n, s := range f.slots {
		sum.add(s.cost())
		if !w.sent.plus(sum).within(credit) || n > 0 && sum.bytes > limit {
			if n == 0 && w.sent == (cost{}) {
				return 1 // alone, or it would wait for ever
			}
			return n
		}
	}
	return f.len()
}

// frameOf returns the index of the frame that holds the number, or where it would be.
func (w *window) frameOf(seq uint64) int {
	return sort.Search(len(w.frames), func(i int) bool { return w.frames[i].end() > seq })
}

func (w *window) entryOf(seq uint64) int {
	return sort.Search(len(w.entries), func(i int) bool { return w.entries[i].first+uint64(w.entries[i].n) > seq })
}

// check demands that these sequence numbers were sent in this session and not reported. Anything
// else is not the truth about our units: the stream must be broken before one of them is touched
// (S12).
func (w *window) check(first, n uint64) error {
	switch {
	case n == 0:
		return fmt.Errorf("a report of an empty range at %d", first)
	case first == 0 || first >= w.unsent || n > w.unsent-first:
		return fmt.Errorf("a report of [%d, +%d), but only 1 to %d were sent in this session", first, n, w.unsent-1)
	}
	seq := first
	for i := w.frameOf(first); seq < first+n; i++ {
		if i == len(w.frames) || seq < w.frames[i].first {
			return fmt.Errorf("a second report of %d", seq)
		}
		for f := w.frames[i]; seq < min(f.end(), first+n); seq++ {
			if s := f.slot(seq); s.reported() || s.returned() {
				return fmt.Errorf("a second report of %d", seq)
			}
		}
	}
	return nil
}

// report ends n units from first, that passed check. err nil: acked.
func (w *window) report(first uint64, n int, err *Error) {
	w.seen = max(w.seen, first+uint64(n)-1)
	w.mark(first, n)
	for i := w.entryOf(first); n > 0; i++ {
		e := &w.entries[i]
		skip := int(first - e.first)
		m := min(n, e.n-skip)
		w.tell(e, skip, m, err)
		first += uint64(m)
		n -= m
	}
	w.sweep()
}

// tell gives out the fate of m units of an entry.
func (w *window) tell(e *entry, skip, m int, err *Error) {
	if e.left -= m; e.left == 0 {
		w.deadEntries++
	}
	w.out(fate{e.call, e.index + skip, m, err})
}

// mark sets units to reported and gives their space back.
func (w *window) mark(first uint64, n int) {
	end := first + uint64(n)
	for i := w.frameOf(first); first < end; i++ {
		f := w.frames[i]
		for ; first < min(f.end(), end); first++ {
			w.markOne(f, f.slot(first), first)
		}
	}
}

func (w *window) markOne(f *frame, s *slotInfo, seq uint64) {
	w.taken.sub(s.cost())
	if seq < w.unsent {
		w.sent.sub(s.cost())
	}
	s.records |= reportedBit
	if f.left--; f.left == 0 && f.sealed {
		f.free()
		w.deadFrames++
	}
}

// sweep forgets what is reported, when it is the majority of a list: a constant number of steps per
// unit.
func (w *window) sweep() {
	if w.deadEntries > 16 && 2*w.deadEntries > len(w.entries) {
		w.entries = slices.DeleteFunc(w.entries, func(e entry) bool { return e.left == 0 })
		w.deadEntries = 0
	}
	if w.deadFrames > 16 && 2*w.deadFrames > len(w.frames) {
		w.frames = slices.DeleteFunc(w.frames, (*frame).forget)
		w.deadFrames = 0
	}
}

// failWhere fails the units from seq on that bad names an error for. The others keep their sequence
// numbers, so it leaves holes: only when the session is over.
func (w *window) failWhere(from uint64, bad func(slotInfo) *Error) {
	for i := w.frameOf(from); i < len(w.frames); i++ {
		f := w.frames[i]
		for seq := max(from, f.first); seq < f.end() && f.left > 0; seq++ {
			s := f.slot(seq)
			if s.reported() {
				continue
			}
			if err := bad(*s); err != nil {
				w.markOne(f, s, seq)
				e := &w.entries[w.entryOf(seq)]
				w.tell(e, int(seq-e.first), 1, err)
			}
		}
	}
}

// rebuild gives the units that are not reported, from the sequence number from on, new consecutive
// numbers beginning with first, as unsent, in their order (S7). Units that bad names an error for
// fail instead. What lies below from, a beginning of a frame, stays as it is.
func (w *window) rebuild(from, first uint64, bad func(slotInfo) *Error) {
	if bad != nil {
		w.failWhere(from, bad)
	}
	cut := w.frameOf(from)
	moved := slices.Clone(w.frames[cut:])
	old := w.entries
	w.frames = slices.DeleteFunc(slices.Clone(w.frames[:cut]), (*frame).forget)
	w.entries = entriesBelow(old, from, moved)
	w.deadEntries, w.deadFrames = 0, 0
	w.next, w.unsent = first, first
	w.seen = min(w.seen, first-1)
	if from <= w.back {
		w.back = 0
	}
	var open cost
	for _, f := range w.frames {
		open.add(f.unreported())
	}
	w.taken, w.sent = open, open
	lookup := &window{entries: old}
	for _, f := range moved {
		f.each(func(k int, data []byte) {
			s := f.slots[k]
			seq := f.first + uint64(k)
			e := &lookup.entries[lookup.entryOf(seq)]
			target := w.open()
			target.data = append(target.data, data...)
			w.add(s.epoch, int(s.bytes), s.cost().records, e.call, e.index+int(seq-e.first))
		})
		f.free()
		f.recycle()
	}
}

// entriesBelow cuts the entries at from; moved are the frames from there on.
func entriesBelow(list []entry, from uint64, moved []*frame) (below []entry) {
	for _, e := range list {
		if e.first >= from {
			break
		}
		if over := int(e.first+uint64(e.n)) - int(from); over > 0 {
			e.n -= over
			for _, f := range moved {
				for seq := f.first; seq < min(f.end(), from+uint64(over)); seq++ {
					if !f.slot(seq).reported() {
						e.left--
					}
				}
			}
		}
		if e.left > 0 {
			below = append(below, e)
		}
	}
	return below
}

// shrink copies what is left of sent frames that are mostly reported, and gives their buffers back:
// or a few units that Kafka does not take would keep many times their size in memory (S9).
func (w *window) shrink() {
	for _, f := range w.frames {
		if f.rest == nil && f.end() <= w.unsent && f.left > 0 && 2*f.unreported().bytes < int64(f.held) {
			f.shrink()
		}
	}
}

// maxUnit is the largest unit that a slot can describe; every sidecar's limit is far below.
const maxUnit = math.MaxUint32
