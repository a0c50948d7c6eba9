package sidecar

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// maxTold is how many failures are kept per session for a client that may not have heard of them.
const maxTold = 128

// toldFailures remembers the last failures that were reported. What is not among them and was reported is acked.
type toldFailures struct {
	bySeq   map[uint64]*sidecarpb.UnitFailure
	order   []uint64 // a ring, once it is full
	next    int
	evicted uint64 // no failure above it is forgotten
	// late is set from the moment a unit came too late until the client is known to have heard of
	// each such unit. What it sent without knowing would overtake them: it is too late as well (S7).
	late bool
}

// heardOf tells, when the session goes on with a client that has not heard of these failures,
// whether what it sends next may be begun. waiting are failures that no stream was told yet.
func (t *toldFailures) heardOf(missed []*sidecarpb.UnitFailure, waiting []failedUnit) {
	if !t.late {
		return
	}
	t.late = slices.ContainsFunc(missed, isLate) ||
		slices.ContainsFunc(waiting, func(x failedUnit) bool { return isLate(x.frame.units[x.unit].failure) })
}

func isLate(f *sidecarpb.UnitFailure) bool { return f.GetError().GetCode() == wire.CodeExpired }

// expire fails a unit that was not begun in time, and with it all that comes behind it.
func (s *session) expire(u *unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.failure, s.told.late = expiredFailure(), true
}

// lapse tells whether a unit whose records came back from Kafka must not be sent again: its time is
// over, or that of another one that the client may be sending another way by now.
func (s *session) lapse(expires uint64) bool {
	if expires == 0 {
		return false
	}
	over := s.server.expired(expires)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told.late = s.told.late || over
	return s.told.late
}

// tooLate tells whether what is entered now comes behind a unit that was not begun in time, and of
// which the client may not know. One that cannot resume sends again on the same stream: for it, this
// ends when nothing is outstanding. mu is held.
func (s *session) tooLate() bool {
	if s.told.late && !s.resumable && s.outUnits == 0 {
		s.told.late = false
	}
	return s.told.late
}

func (t *toldFailures) add(f *sidecarpb.UnitFailure) {
	if t.bySeq == nil {
		t.bySeq = make(map[uint64]*sidecarpb.UnitFailure)
	}
	if len(t.order) < maxTold {
		t.order = append(t.order, f.GetSequence())
	} else {
		gone := t.order[t.next]
		delete(t.bySeq, gone)
		t.evicted = max(t.evicted, gone)
		t.order[t.next] = f.GetSequence()
		t.next = (t.next + 1) % maxTold
	}
	t.bySeq[f.GetSequence()] = f
}

// sorted returns what is remembered by sequence.
func (t *toldFailures) sorted() []*sidecarpb.UnitFailure {
	return slices.SortedFunc(maps.Values(t.bySeq), func(a, b *sidecarpb.UnitFailure) int { return cmp.Compare(a.GetSequence(), b.GetSequence()) })
}

// resumption is the outcome of a Hello that wants to go on with a session.
type resumption int

const (
	resumed     resumption = iota
	unresumed              // it is alive, and cannot be gone on with: what was reported and not heard is not known any more
	overAlready            // its will has begun
)

// attach makes the session go on with another stream. What was reported on a stream that broke, and not heard, is reported again: once for
// each sequence (S12). Nothing of the broken stream is entered from here on (S7): the sequence returned is the last that was.
func (s *session) attach(d *delivery, p peerInfo, h *sidecarpb.Hello) (high uint64, how resumption, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state.over():
		return 0, overAlready, nil
	case !s.state.returns(): // the drain began while its Hello was read
		return 0, unresumed, errDraining
	}
	high = max(s.next, 1) - 1
	m := missed{s: s, high: high}
	if err := m.find(h.GetUnreported()); err != nil {
		return 0, unresumed, err
	}
	if m.forgotten || m.pending != s.outUnits {
		return 0, unresumed, nil
	}
	s.again, s.againFail = m.acked, m.failed
	s.told.heardOf(m.failed, s.failed)
	if s.state.streams() {
		close(s.stream.replaced)
	}
	s.happen(eventReturn)
	s.stream, s.peer, s.cold, s.stock.unanswered = d, p, nil, 0
	for _, e := range s.epochs {
		e.releases = nil // the client says them again
	}
	d.woken = false
	s.signal()
	return high, resumed, nil
}

// missed sorts what a client has not heard of: still pending, or reported on a stream that broke. Counts are the peer's word: its work grows with the
// ranges, the units that are here and the failures that are remembered, never with what a range claims.
type missed struct {
	s         *session
	high      uint64
	failures  []*sidecarpb.UnitFailure // remembered, and not passed yet; by sequence
	pending   int64
	acked     []wire.Range
	failed    []*sidecarpb.UnitFailure
	forgotten bool
}

// find needs ranges that increase. Those above high were never received.
func (m *missed) find(list []*sidecarpb.Range) error {
	if len(list) > m.s.window.records {
		return fmt.Errorf("%w: Hello.unreported has %d ranges, more than the credit of %d records: so many cannot be outstanding", errViolation, len(list), m.s.window.records)
	}
	m.failures = m.s.told.sorted()
	f, end := m.s.frames.first, uint64(0)
	for _, r := range list {
		first, count := r.GetFirst(), r.GetCount()
		if first <= end || count == 0 || first+count < first {
			return fmt.Errorf("%w: Hello.unreported has %d sequences from %d on, behind %d: ranges increase, do not overlap and are not empty", errViolation, count, first, end)
		}
		end = first + count - 1
		for seq := first; seq <= min(end, m.high); {
			for f != nil && f.end() <= seq {
				f = f.after
			}
			if f == nil || seq < f.first {
				to := min(end, m.high) + 1
				if f != nil {
					to = min(to, f.first)
				}
				m.told(seq, to)
				seq = to
				continue
			}
			if i := seq - f.first; f.told[i/64]&(1<<(i%64)) == 0 {
				m.pending++
			} else {
				m.told(seq, seq+1)
			}
			seq++
		}
	}
	return nil
}

// told notes sequences that were reported and not heard. It is called with ranges that increase.
func (m *missed) told(from, to uint64) {
	if from <= m.s.told.evicted {
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
	if from >= to {
		return
	}
	if k := len(m.acked); k > 0 && m.acked[k-1].First+m.acked[k-1].Count == from {
		m.acked[k-1].Count += to - from
		return
	}
	m.acked = append(m.acked, wire.Range{First: from, Count: to - from})
}

func (f *frame) end() uint64 { return f.first + uint64(len(f.units)) }

// takeAgain moves what was reported before, and not heard, into out. It has given its credit back already. mu is held.
func (s *session) takeAgain(out *outgoing) {
	n := min(len(s.again), maxRanges)
	out.acked = append(out.acked, s.again[:n]...)
	s.again = removeFirst(s.again, n)
	n = min(len(s.againFail), maxFailures)
	out.failed = append(out.failed, s.againFail[:n]...)
	s.againFail = removeFirst(s.againFail, n)
}

// blank tells that nothing was ever said on this session but Hello.
func (s *session) blank() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next == 0 && len(s.members) == 0 && len(s.epochs) == 0
}
