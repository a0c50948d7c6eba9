package donemeta

import (
	"iter"
	"math"
	"slices"

	"github.com/ackmark/ackmark/internal/ackmark"
)

// Inherited is what an assignment found done when it began: inputs that are not handed out again,
// and that the next commit must not forget. The consumer and the sidecar both keep one beside the
// partition's [ackmark.Tracker], to which these inputs are a gap. The zero value is empty. It is
// not safe for concurrent use.
type Inherited struct {
	runs []Run // above the mark, see Forget
	read int   // runs that the reader has passed, see Contains
}

// Inherit takes over what [Parse] returned.
func Inherit(runs []Run) Inherited { return Inherited{runs: runs} }

// Contains tells whether this offset is inherited. Offsets are asked for in the order of reading:
// none lower than one before.
func (h *Inherited) Contains(offset int64) bool {
	for h.read < len(h.runs) && h.runs[h.read].Last < offset {
		h.read++
	}
	return h.read < len(h.runs) && h.runs[h.read].First <= offset
}

// Mark is the tracker's ack mark, with the inherited runs crossed that lie right at it. It is for
// the sidecar, which does not see the inputs between the units: the consumer reads them, and tells
// its tracker of each (Skip). It never goes back, and never beyond an input that is open.
func (h *Inherited) Mark(t *ackmark.Tracker) int64 {
	limit, _, open := t.Oldest()
	return h.cross(t.Mark(), limit, open)
}

// MarkStaged is Mark as it would be if all that is staged in the tracker were done.
func (h *Inherited) MarkStaged(t *ackmark.Tracker) int64 {
	limit, open := t.OldestUnstaged()
	return h.cross(t.MarkStaged(), limit, open)
}

// cross moves a mark over the inherited runs that lie right at it, up to what is open.
func (h *Inherited) cross(mark, limit int64, open bool) int64 {
	for _, r := range h.runs {
		if r.First > mark || open && r.First > limit {
			break
		}
		mark = max(mark, r.Last+1)
	}
	if open {
		mark = min(mark, limit)
	}
	return mark
}

// Forget drops what the tracker's mark has passed.
func (h *Inherited) Forget(mark int64) {
	n := 0
	for n < len(h.runs) && h.runs[n].Last < mark {
		n++
	}
	h.runs, h.read = h.runs[n:], max(0, h.read-n)
}

// Len is the number of runs left.
func (h *Inherited) Len() int { return len(h.runs) }

// Passed is how many of them Contains has passed.
func (h *Inherited) Passed() int { return h.read }

// End is the offset after the last of them, or 0 for none.
func (h *Inherited) End() int64 {
	if len(h.runs) == 0 {
		return 0
	}
	return h.runs[len(h.runs)-1].Last + 1
}

// Union appends all that is done at or above the mark, inherited or not: what a commit of the mark
// must say.
//
// Runs are joined where nothing that is not done lies between them, even if offsets are missing
// there: between two of the tracker's neighbours there is nothing else, and below what it has read
// neither. Without this, a set would grow by a run for each gap that it was handed over with, and
// in the end not fit.
func (h *Inherited) Union(t *ackmark.Tracker, mark int64, dst []Run) []Run {
	if len(h.runs) == 0 {
		for first, last := range t.DoneSet() {
			dst = append(dst, Run{first, last})
		}
		return dst
	}
	return h.union(t.Entries(), t.Next(), mark, dst)
}

// UnionStaged is Union as it would be if all that is staged in the tracker were done.
func (h *Inherited) UnionStaged(t *ackmark.Tracker, mark int64, dst []Run) []Run {
	return h.union(t.EntriesStaged(), t.Next(), mark, dst)
}

func (h *Inherited) union(entries iter.Seq2[int64, bool], next, mark int64, dst []Run) []Run {
	u := union{dst: dst, from: len(dst), rest: h.runs, apart: true}
	for offset, done := range entries {
		if offset < 0 {
			u.unknown = true
			continue
		}
		u.inherited(offset)
		u.apart = u.apart || u.unknown
		u.unknown = false
		if done {
			u.add(Run{offset, offset})
		} else {
			u.apart = true
		}
	}
	u.inherited(next)
	u.unknown = true // what lies above was not read yet
	u.inherited(math.MaxInt64)
	return clip(u.dst, u.from, mark)
}

// union joins runs that come in order.
type union struct {
	dst  []Run
	from int
	rest []Run // inherited, not added yet
	// apart: what comes next may have something before it that is not done. unknown: so may
	// everything until the next entry.
	apart, unknown bool
}

// inherited adds the inherited runs that begin below an offset.
func (u *union) inherited(below int64) {
	for len(u.rest) > 0 && u.rest[0].First < below {
		u.apart = u.apart || u.unknown
		u.add(u.rest[0])
		u.rest = u.rest[1:]
	}
}

func (u *union) add(r Run) {
	if n := len(u.dst); n > u.from && (!u.apart || r.First <= u.dst[n-1].Last+1) {
		u.dst[n-1].Last = max(u.dst[n-1].Last, r.Last)
	} else {
		u.dst = append(u.dst, r)
	}
	u.apart = false
}

// clip leaves out what lies below the mark.
func clip(dst []Run, from int, mark int64) []Run {
	n := from
	for n < len(dst) && dst[n].Last < mark {
		n++
	}
	dst = slices.Delete(dst, from, n)
	if from < len(dst) {
		dst[from].First = max(dst[from].First, mark)
	}
	return dst
}
