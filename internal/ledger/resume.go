package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// MaxTold is how many failures are kept for a client that may not have heard of them.
const MaxTold = 128

// told remembers the last failures that were reported. What is not among them and was reported is
// acked.
type told struct {
	bySeq   map[uint64]*sidecarpb.UnitFailure
	order   []uint64 // a ring, once it is full
	next    int
	evicted uint64 // no failure above it is forgotten
}

func (t *told) add(f *sidecarpb.UnitFailure) {
	if t.bySeq == nil {
		t.bySeq = make(map[uint64]*sidecarpb.UnitFailure)
	}
	if len(t.order) < MaxTold {
		t.order = append(t.order, f.GetSequence())
	} else {
		gone := t.order[t.next]
		delete(t.bySeq, gone)
		t.evicted = max(t.evicted, gone)
		t.order[t.next] = f.GetSequence()
		t.next = (t.next + 1) % MaxTold
	}
	t.bySeq[f.GetSequence()] = f
}

// sorted returns what is remembered by sequence.
func (t *told) sorted() []*sidecarpb.UnitFailure {
	return slices.SortedFunc(maps.Values(t.bySeq), func(a, b *sidecarpb.UnitFailure) int {
		return cmp.Compare(a.GetSequence(), b.GetSequence())
	})
}

// Resume goes on with a client that says which of the numbers that it sent it has heard nothing of,
// in ranges that increase, at most so many. What was reported, and not heard, is reported again,
// once; what lies above the number returned was not received. Not ok: what was reported and not
// heard is not known any more, and nothing has changed. The error is what the client did wrong.
func (l *Ledger) Resume(unheard []*sidecarpb.Range, most int) (received uint64, ok bool, err error) {
	received = l.Received()
	m := missed{ledger: l, high: received}
	if err := m.find(unheard, most); err != nil {
		return 0, false, err
	}
	if m.forgotten || m.pending != l.out.Units {
		return 0, false, nil
	}
	l.again, l.againFailed = m.acked, m.failed
	// It has heard of every late unit that is neither told again nor waits to be told.
	l.late = l.late && (slices.ContainsFunc(m.failed, isLate) ||
		slices.ContainsFunc(l.failed, func(x failed) bool { return isLate(x.failure) }))
	return received, true, nil
}

func isLate(f *sidecarpb.UnitFailure) bool { return f.GetError().GetCode() == wire.CodeExpired }

// missed sorts what a client has not heard of: still pending, or reported on a stream that broke.
// Counts are the peer's word: its work grows with the ranges, the units that are here and the
// failures that are remembered, never with what a range claims.
type missed struct {
	ledger    *Ledger
	high      uint64
	failures  []*sidecarpb.UnitFailure // remembered, and not passed yet; by sequence
	pending   int64
	acked     []wire.Range
	failed    []*sidecarpb.UnitFailure
	forgotten bool
}

// find needs ranges that increase. Those above high were never received.
func (m *missed) find(list []*sidecarpb.Range, most int) error {
	if len(list) > most {
		return fmt.Errorf("the field Hello.unreported has %d ranges, more than the credit of %d records: so many cannot be outstanding", len(list), most)
	}
	m.failures = m.ledger.told.sorted()
	x, end := m.ledger.first, uint64(0)
	for _, r := range list {
		first, count := r.GetFirst(), r.GetCount()
		if first <= end || count == 0 || first+count < first {
			return fmt.Errorf("the field Hello.unreported has %d sequences from %d on, behind %d: ranges increase, do not overlap and are not empty", count, first, end)
		}
		end = first + count - 1
		for seq := first; seq <= min(end, m.high); {
			for x != nil && x.end() <= seq {
				x = x.after
			}
			if x == nil || seq < x.first {
				to := min(end, m.high) + 1
				if x != nil {
					to = min(to, x.first)
				}
				m.told(seq, to)
				seq = to
				continue
			}
			if x.wasTold(seq) {
				m.told(seq, seq+1)
			} else {
				m.pending++
			}
			seq++
		}
	}
	return nil
}

// told notes sequences that were reported and not heard. It is called with ranges that increase.
func (m *missed) told(from, to uint64) {
	if from <= m.ledger.told.evicted {
		m.forgotten = true
		return
	}
	for len(m.failures) > 0 && m.failures[0].GetSequence() < to {
		f := m.failures[0]
		m.failures = m.failures[1:]
		if seq := f.GetSequence(); seq >= from {
			m.success(from, seq)
			m.failed = append(m.failed, f)
			from = seq + 1
		}
	}
	m.success(from, to)
}

// success notes sequences that were reported as acked.
func (m *missed) success(from, to uint64) {
	if from < to {
		m.acked = appendRange(m.acked, from, to-from)
	}
}
