package assigned

import (
	"math/bits"
	"slices"
	"sync"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Partition is one assignment of a partition to the session's process.
type Partition struct {
	Epoch    uint64 // of the assignment
	Of       MemberKey
	Topic    string
	TopicID  [16]byte
	Index    int32
	Core     *assignment.Assignment // S4: a fresh one for each epoch; Draining once it is released
	Open     int                    // units received and not finished
	capacity uint64                 // of a tracker: its entries are taken of the session's share
	trackers int64                  // see Held
	kept     int64                  // bytes, the same
	turned   uint64                 // the lowest index that was not admitted, and 1; 0: none
	short    bool                   // there was no room for an input, and nobody has said since where its reader stands
	releases []*release             // that wait for Open to be 0
	entry    *sessionfile.Entry     // of the session file; nil: it is not in it
}

// Released tells that the client gave the partition back: units of it are refused, and no will
// names it.
func (e *Partition) Released() bool { return !e.Core.State().Reads() }

// release is a Release that is not answered yet.
type release struct {
	id   uint64
	left int // assignments with open units
}

// parsed are buffers to read done-sets into: one of 4 KiB of text may take 200 KiB, and most will
// not be kept.
var parsed = sync.Pool{New: func() any { return new([]donemeta.Run) }}

// inherit keeps the done-set that an assignment began from. One that is wrong is none, as is one
// for which there is no room: a repeat, no loss.
func (h *Held) inherit(e *Partition, p *sidecarpb.AssignedPartition) {
	if p.GetDoneSet() == "" {
		return
	}
	scratch := parsed.Get().(*[]donemeta.Run) //nolint:forcetypeassert // of its New
	defer parsed.Put(scratch)
	runs, err := donemeta.ParseAt(p.GetDoneSet(), e.TopicID, p.GetStartOffset(), (*scratch)[:0])
	*scratch = runs[:0]
	if err != nil || len(runs) == 0 {
		return
	}
	if cost := int64(len(runs)) * runCost; h.kept.Take(cost) {
		e.kept += cost
		e.Core.Inherit(slices.Clip(slices.Clone(runs)), p.GetDoneSet(), -1)
	}
}

// enterDone enters inputs that were done before this sidecar heard of the assignment. They lie
// above the mark: one that claims to be at it would let the mark, and with it the room above, move
// on for as long as the run says. What does not fit is left out: the mark may lag, never lie.
func (h *Held) enterDone(e *Partition, r *sidecarpb.DoneRun) {
	first, mark := r.GetIndex(), e.Core.MarkIndex()
	if first <= mark || first-mark >= MaxSpan {
		return
	}
	n := min(r.GetCount(), MaxSpan-(first-mark))
	if n == 0 {
		return
	}
	if !h.reserve(e, first+n-1) {
		h.miss(e, first, n)
		return
	}
	for k := range n {
		if !e.Core.Follow(first+k, r.GetOffset()+int64(k), 0) {
			return
		}
		e.Core.Done(first + k)
	}
}

// reserve counts the memory that an entry at index may take: a hostile index must not make a large
// ring for nothing. Where there is none left, what rests gives back what it does not need.
func (h *Held) reserve(e *Partition, index uint64) bool {
	mark := e.Core.MarkIndex()
	if index < mark || e.Beyond(index) || e.turns(index) {
		return false
	}
	if index-mark < e.capacity {
		return true
	}
	if e.short { // its mark stands still: it would take all that the others need
		return false
	}
	want := uint64(1) << bits.Len64(max(index-mark, 63))
	if h.takeRoom(e, want) {
		return true
	}
	h.fitAll()
	return h.takeRoom(e, want)
}

func (h *Held) takeRoom(e *Partition, want uint64) bool {
	if !h.entries.Take(max(e.trackers, 1) * int64(want-e.capacity)) {
		return false
	}
	e.capacity = want
	return true
}

// fitAll has all trackers give back what they do not need now.
func (h *Held) fitAll() {
	for _, e := range h.partitions {
		h.fit(e)
	}
}

func (h *Held) fit(e *Partition) {
	if h.fitToo != nil {
		h.fitToo(e.Epoch)
	}
	e.Core.Fit()
	e.giveBack(&h.entries)
}

// giveBack returns what the trackers do not need any more. They shrink as the mark moves, the
// second a moment before the first.
func (e *Partition) giveBack(entries *limit.Share) {
	if room := uint64(e.Core.Room()); room < e.capacity {
		entries.Give(e.trackers * int64(e.capacity-room))
		e.capacity = room
	}
}
