// Package resend keeps the units that a client of the sidecar has taken and not reported: encoded,
// in frames, so that they can be sent again when a stream breaks or a sidecar dies. It is pure: no
// lock, clock or goroutine; its owner's lock guards it.
package resend

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/ackmark/ackmark/producer/internal/unit"
)

// Queue is the resend queue: it holds every unit that was taken and not reported, in order, under
// the sequence numbers of the current session. O is what is kept of a call for its reports, E why a
// unit failed.
//
//	                         unsent                 next
//	    sent, some reported    |  taken, not sent   |
//	[ frame ][ frame ]  [ fr. ][ frame ][ open fr. ]
//
// Invariants: frames and entries are in the order of their sequence numbers and cover every unit
// that is not reported; unsent is the beginning of a frame; numbers in one session are consecutive.
// A session that is new to the sidecar starts again at 1 with what is not reported (Rebuild), so a
// number of an old session cannot be taken for one of the new (S12); one that is resumed keeps its
// numbers, and only what the sidecar did not receive gets new ones (resume.go). A list of
// number segments per session would have spared the copying, at the price of a mapping on every
// report.
//
// What is reported leaves, also from the middle: one ring over all numbers was not enough, because
// one unit that Kafka does not take for an hour would keep an hour's worth of numbers in memory
// (S9).
type Queue[O, E any] struct {
	entries      []entry[O]
	frames       []*Frame
	emptyEntries int // with left 0; removed when they are the majority
	emptyFrames  int
	unsent       uint64
	next         uint64
	seen         uint64    // highest number that the sidecar reported in this session: it has received that much
	back         uint64    // beginning of the first frame that the sidecar gave back; 0: none. Nothing is sent until TakeBack
	taken        unit.Cost // taken and not reported
	sent         unit.Cost // of them sent
	pool         Pool
	out          func(Fate[O, E]) // receives the fates of units, in the order in which they are known
}

// entry maps consecutive sequence numbers to consecutive units of one call.
type entry[O any] struct {
	first uint64
	n     int
	left  int // not reported
	index int // of the first unit in its call
	call  Call[O]
}

// Call is a call of Deliver: a number of its own, and what is needed to report its units.
type Call[O any] struct {
	ID    uint64
	Owner O
}

// Fate is how N units of a call ended, from First on: acknowledged, or failed with Err.
type Fate[O, E any] struct {
	Call     Call[O]
	First, N int
	Err      *E // nil: acknowledged
}

// New returns an empty queue. Fates go to out.
func New[O, E any](pool Pool, out func(Fate[O, E])) *Queue[O, E] {
	return &Queue[O, E]{unsent: 1, next: 1, pool: pool, out: out}
}

// Taken is what was taken and is not reported.
func (q *Queue[O, E]) Taken() unit.Cost { return q.taken }

// Sent is what of it was sent in this session.
func (q *Queue[O, E]) Sent() unit.Cost { return q.sent }

// Unsent is the number of the first unit that was not sent.
func (q *Queue[O, E]) Unsent() uint64 { return q.unsent }

// Pinned is how many bytes its sealed frames hold, whatever of them is reported.
func (q *Queue[O, E]) Pinned() int64 { return *q.pool.pinned }

// Open returns the frame that takes the next unit: its bytes are appended to Data, then Add is
// called.
func (q *Queue[O, E]) Open() *Frame {
	if n := len(q.frames); n > 0 {
		if f := q.frames[n-1]; !f.full() {
			return f
		}
	}
	f := q.pool.open(q.next)
	q.frames = append(q.frames, f)
	return f
}

// Add takes the unit that was encoded at the end of the open frame: its last size bytes.
func (q *Queue[O, E]) Add(epoch uint64, size, records int, call Call[O], index int) {
	s := Slot{epoch, uint32(size), uint32(records)}
	q.taken.Add(s.Cost())
	q.frames[len(q.frames)-1].add(s)
	q.cover(call, index)
	q.next++
}

// cover makes the entry for the unit next.
func (q *Queue[O, E]) cover(call Call[O], index int) {
	if n := len(q.entries); n > 0 {
		if e := &q.entries[n-1]; e.left > 0 && e.call.ID == call.ID && e.index+e.n == index && e.first+uint64(e.n) == q.next {
			e.n++
			e.left++
			return
		}
	}
	q.entries = append(q.entries, entry[O]{first: q.next, n: 1, left: 1, index: index, call: call})
}

// Send takes the next units that may be sent under the credit: a frame, or the first part of one.
// What is larger than the whole credit goes alone. limit bounds the bytes of a message; 0: none.
// Nil: nothing may be sent now.
func (q *Queue[O, E]) Send(credit unit.Cost, limit int) *Frame {
	if q.unsent == q.next || q.back != 0 {
		return nil
	}
	if limit == 0 {
		limit = math.MaxInt
	}
	i := q.frameOf(q.unsent)
	f := q.frames[i]
	n := f.Len()
	if !q.sent.Plus(f.cost).Within(credit) || f.cost.Bytes > int64(limit) {
		if n = q.prefix(f, credit, int64(limit)); n == 0 {
			return nil // and the frame stays open for more units
		}
	}
	f.seal()
	if n < f.Len() {
		q.frames = slices.Insert(q.frames, i+1, f.split(n))
	}
	q.unsent = f.End()
	q.sent.Add(f.cost)
	return f
}

// prefix returns how many units of an unsent frame the credit and the limit of a message allow.
func (q *Queue[O, E]) prefix(f *Frame, credit unit.Cost, limit int64) int {
	var sum unit.Cost
	for n, s := range f.slots {
		sum.Add(s.Cost())
		if !q.sent.Plus(sum).Within(credit) || n > 0 && sum.Bytes > limit {
			if n == 0 && q.sent == (unit.Cost{}) {
				return 1 // alone, or it would wait for ever
			}
			return n
		}
	}
	return f.Len()
}

// frameOf returns the index of the frame that holds the number, or where it would be.
func (q *Queue[O, E]) frameOf(seq uint64) int {
	return sort.Search(len(q.frames), func(i int) bool { return q.frames[i].End() > seq })
}

func (q *Queue[O, E]) entryOf(seq uint64) int {
	return sort.Search(len(q.entries), func(i int) bool { return q.entries[i].first+uint64(q.entries[i].n) > seq })
}

// Check demands that these sequence numbers were sent in this session and not reported. Anything
// else is not the truth about our units: the stream must be broken before one of them is touched
// (S12).
func (q *Queue[O, E]) Check(first, n uint64) error {
	switch {
	case n == 0:
		return fmt.Errorf("a report of an empty range at %d", first)
	case first == 0 || first >= q.unsent || n > q.unsent-first:
		return fmt.Errorf("a report of [%d, +%d), but only 1 to %d were sent in this session", first, n, q.unsent-1)
	}
	seq := first
	for i := q.frameOf(first); seq < first+n; i++ {
		if i == len(q.frames) || seq < q.frames[i].First {
			return fmt.Errorf("a second report of %d", seq)
		}
		f := q.frames[i]
		if f.within(seq, first+n) && q.back == 0 {
			seq = f.End()
			continue
		}
		for ; seq < min(f.End(), first+n); seq++ {
			if s := f.slot(seq); s.reported() || s.returned() {
				return fmt.Errorf("a second report of %d", seq)
			}
		}
	}
	return nil
}

// Report ends n units from first, that passed Check. err nil: acked.
func (q *Queue[O, E]) Report(first uint64, n int, err *E) {
	q.seen = max(q.seen, first+uint64(n)-1)
	q.mark(first, n)
	for i := q.entryOf(first); n > 0; i++ {
		e := &q.entries[i]
		skip := int(first - e.first)
		m := min(n, e.n-skip)
		q.tell(e, skip, m, err)
		first += uint64(m)
		n -= m
	}
	q.sweep()
}

// tell gives out the fate of m units of an entry.
func (q *Queue[O, E]) tell(e *entry[O], skip, m int, err *E) {
	if e.left -= m; e.left == 0 {
		q.emptyEntries++
	}
	q.out(Fate[O, E]{e.call, e.index + skip, m, err})
}

// mark sets units to reported and gives their space back.
func (q *Queue[O, E]) mark(first uint64, n int) {
	end := first + uint64(n)
	for i := q.frameOf(first); first < end; i++ {
		f := q.frames[i]
		if f.within(first, end) {
			first = f.End()
			q.markAll(f)
			continue
		}
		for ; first < min(f.End(), end); first++ {
			q.markOne(f, f.slot(first), first)
		}
	}
}

// markAll is markOne for all units of a frame that was sent and of which none is reported.
func (q *Queue[O, E]) markAll(f *Frame) {
	q.taken.Sub(f.cost)
	q.sent.Sub(f.cost)
	for k := range f.slots {
		f.slots[k].records |= reportedBit
	}
	f.left = 0
	f.free()
	q.emptyFrames++
}

func (q *Queue[O, E]) markOne(f *Frame, s *Slot, seq uint64) {
	q.taken.Sub(s.Cost())
	if seq < q.unsent {
		q.sent.Sub(s.Cost())
	}
	s.records |= reportedBit
	if f.left--; f.left == 0 && f.sealed {
		f.free()
		q.emptyFrames++
	}
}

// sweep forgets what is reported, when it is the majority of a list: a constant number of steps per
// unit.
func (q *Queue[O, E]) sweep() {
	if q.emptyEntries > 16 && 2*q.emptyEntries > len(q.entries) {
		q.entries = slices.DeleteFunc(q.entries, func(e entry[O]) bool { return e.left == 0 })
		q.emptyEntries = 0
	}
	if q.emptyFrames > 16 && 2*q.emptyFrames > len(q.frames) {
		q.frames = slices.DeleteFunc(q.frames, (*Frame).forget)
		q.emptyFrames = 0
	}
}

// FailWhere fails the units from seq on that bad names an error for. The others keep their sequence
// numbers, so it leaves holes: only when the session is over.
func (q *Queue[O, E]) FailWhere(from uint64, bad func(Slot) *E) {
	for i := q.frameOf(from); i < len(q.frames); i++ {
		f := q.frames[i]
		for seq := max(from, f.First); seq < f.End() && f.left > 0; seq++ {
			s := f.slot(seq)
			if s.reported() {
				continue
			}
			if err := bad(*s); err != nil {
				q.markOne(f, s, seq)
				e := &q.entries[q.entryOf(seq)]
				q.tell(e, int(seq-e.first), 1, err)
			}
		}
	}
}

// Rebuild gives the units that are not reported, from the sequence number from on, new consecutive
// numbers beginning with first, as unsent, in their order (S7). Units that bad names an error for
// fail instead. What lies below from, a beginning of a frame, stays as it is.
func (q *Queue[O, E]) Rebuild(from, first uint64, bad func(Slot) *E) {
	if bad != nil {
		q.FailWhere(from, bad)
	}
	cut := q.frameOf(from)
	moved := slices.Clone(q.frames[cut:])
	old := q.entries
	q.frames = slices.DeleteFunc(slices.Clone(q.frames[:cut]), (*Frame).forget)
	q.entries = entriesBelow(old, from, moved)
	q.emptyEntries, q.emptyFrames = 0, 0
	q.next, q.unsent = first, first
	q.seen = min(q.seen, first-1)
	if from <= q.back {
		q.back = 0
	}
	var open unit.Cost
	for _, f := range q.frames {
		open.Add(f.unreported())
	}
	q.taken, q.sent = open, open
	lookup := &Queue[O, E]{entries: old}
	for _, f := range moved {
		f.each(func(k int, data []byte) {
			s := f.slots[k]
			seq := f.First + uint64(k)
			e := &lookup.entries[lookup.entryOf(seq)]
			target := q.Open()
			target.Data = append(target.Data, data...)
			q.Add(s.Epoch, int(s.Bytes), s.Cost().Records, e.call, e.index+int(seq-e.first))
		})
		f.free()
		f.recycle()
	}
}

// entriesBelow cuts the entries at from; moved are the frames from there on.
func entriesBelow[O any](list []entry[O], from uint64, moved []*Frame) (below []entry[O]) {
	for _, e := range list {
		if e.first >= from {
			break
		}
		if over := int(e.first+uint64(e.n)) - int(from); over > 0 {
			e.n -= over
			for _, f := range moved {
				for seq := f.First; seq < min(f.End(), from+uint64(over)); seq++ {
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

// Shrink copies what is left of sent frames that are mostly reported, and gives their buffers back:
// or a few units that Kafka does not take would keep many times their size in memory (S9).
func (q *Queue[O, E]) Shrink() {
	for _, f := range q.frames {
		if f.rest == nil && f.End() <= q.unsent && f.left > 0 && 2*f.unreported().Bytes < int64(f.held) {
			f.shrink()
		}
	}
}

// MaxUnit is the largest unit that a slot can describe, in bytes; every sidecar's limit is far
// below.
const MaxUnit = math.MaxUint32
