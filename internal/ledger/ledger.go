package ledger

import (
	"fmt"
	"math/bits"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	maxRanges   = 2048 // in one report; about 20 KiB
	maxFailures = 128
)

// Ledger is that of one session. Its zero value is one of a client that cannot go on with a session
// on another stream; see [New].
type Ledger struct {
	resumable bool
	next      uint64 // next sequence number; 0: any
	out       Outstanding
	open      int // units that have not ended

	first, last *Message   // with units that are not reported, in the order in which they came
	dirty       []*Message // with acked units that are not reported
	failed      []failed
	again       []wire.Range             // acked, reported on a stream that broke, and not heard
	againFailed []*sidecarpb.UnitFailure // failed, the same

	told told
	// late is set from the moment a unit came too late until the client is known to have heard of
	// each such unit. What it sent without knowing would overtake them: it is too late as well
	// (S7).
	late bool
}

// Outstanding is what was received and not reported: what of the credit is used.
type Outstanding struct {
	Units int64
	Cost
}

type failed struct {
	message *Message
	unit    int32
	failure *sidecarpb.UnitFailure
}

// New returns an empty ledger. Only that of a session which may be resumed remembers what it
// reported.
func New(resumable bool) Ledger { return Ledger{resumable: resumable} }

// Received is the highest sequence number that was received.
func (l *Ledger) Received() uint64 { return max(l.next, 1) - 1 }

// Blank tells that nothing was received.
func (l *Ledger) Blank() bool { return l.next == 0 }

// Outstanding is what of the credit is used.
func (l *Ledger) Outstanding() Outstanding { return l.out }

// Open is how many units have not ended.
func (l *Ledger) Open() int { return l.open }

// Receive enters a message: from here on every unit of it is reported, or the session has ended.
// Late: its units come behind one that was not begun in time, and of which the client may not know.
// The error is what the client did wrong.
func (l *Ledger) Receive(m *Message, credit Cost) (late bool, err error) {
	n := uint64(m.Len())
	if m.first == 0 || m.first+n < m.first || (l.next != 0 && m.first != l.next) {
		return false, fmt.Errorf("units %d to %d, expected %d: sequence numbers start at 1 and have no gaps", m.first, m.first+n-1, l.next)
	}
	if err := l.checkCredit(m, credit); err != nil {
		return false, err
	}
	if l.late && !l.resumable && l.out.Units == 0 {
		l.late = false // it sends again on the same stream, and has heard of all that is not outstanding
	}
	l.next = m.first + n
	l.out.Units += int64(n)
	l.out.add(m.total)
	l.open += int(n)
	l.push(m)
	return l.late, nil
}

// checkCredit lets one unit pass that is alone, however large it is.
func (l *Ledger) checkCredit(m *Message, credit Cost) error {
	sum := l.out.Cost
	if sum.add(m.total); m.Len() == 1 && l.out.Units == 0 || sum.within(credit) {
		return nil
	}
	return fmt.Errorf("credit exceeded: %d bytes and %d records outstanding, %d and %d more sent, the credit is %d and %d",
		l.out.Bytes, l.out.Records, m.total.Bytes, m.total.Records, credit.Bytes, credit.Records)
}

func (l *Ledger) push(m *Message) {
	m.before, m.after = l.last, nil
	if l.last == nil {
		l.first = m
	} else {
		l.last.after = m
	}
	l.last = m
}

func (l *Ledger) remove(m *Message) {
	if m.before == nil {
		l.first = m.after
	} else {
		m.before.after = m.after
	}
	if m.after == nil {
		l.last = m.before
	} else {
		m.after.before = m.before
	}
	m.before, m.after = nil, nil
}

// Ack ends a unit: all its outputs are in Kafka.
func (l *Ledger) Ack(m *Message, unit int32) {
	l.open--
	m.acked[unit/64] |= 1 << (unit % 64)
	if !m.dirty {
		m.dirty = true
		l.dirty = append(l.dirty, m)
	}
}

// Fail ends a unit, whose sequence number the failure gets.
func (l *Ledger) Fail(m *Message, unit int32, f *sidecarpb.UnitFailure) {
	l.open--
	f.Sequence = m.first + uint64(unit)
	l.failed = append(l.failed, failed{m, unit, f})
}

// Drop takes back units that were received and are not begun: the session is ending, and the client
// sends them again.
func (l *Ledger) Drop(units int) { l.open -= units }

// Late notes, if so, that a unit was not begun in time, and tells whether there is one of which the
// client may not know.
func (l *Ledger) Late(one bool) bool {
	l.late = l.late || one
	return l.late
}

// Close ends the books, and returns what was outstanding.
func (l *Ledger) Close() Cost {
	out := l.out.Cost
	*l = Ledger{resumable: l.resumable, next: l.next}
	return out
}

// Report is what is told the client at once. Its slices are used again.
type Report struct {
	Acked  []wire.Range
	Failed []*sidecarpb.UnitFailure
	// Done are messages that the ledger needs no more.
	Done []*Message
}

// Take moves what is to be reported into r, and returns the credit that it gives back. More: not
// all fit.
func (l *Ledger) Take(r *Report) (back Cost, more bool) {
	clear(r.Done)
	r.Acked, r.Failed, r.Done = r.Acked[:0], r.Failed[:0], r.Done[:0]
	l.takeAgain(r)
	taken := Outstanding{}
	done := 0
	for _, m := range l.dirty {
		if len(r.Acked) >= maxRanges {
			break
		}
		l.reported(m, taken.acked(m, r), r)
		done++
	}
	l.dirty = removeFirst(l.dirty, done)
	n := min(len(l.failed), max(0, maxFailures-len(r.Failed)))
	for _, x := range l.failed[:n] {
		taken.unit(x.message, x.unit)
		r.Failed = append(r.Failed, x.failure)
		x.message.told[x.unit/64] |= 1 << (x.unit % 64)
		if l.resumable {
			l.told.add(x.failure)
		}
		l.reported(x.message, 1, r)
	}
	l.failed = removeFirst(l.failed, n)
	l.out.Units -= taken.Units
	l.out.sub(taken.Cost)
	return taken.Cost, len(l.dirty)+len(l.failed)+len(l.again)+len(l.againFailed) > 0
}

// takeAgain moves what was reported before, and not heard. It has given its credit back already.
func (l *Ledger) takeAgain(r *Report) {
	n := min(len(l.again), maxRanges)
	r.Acked = append(r.Acked, l.again[:n]...)
	l.again = removeFirst(l.again, n)
	n = min(len(l.againFailed), maxFailures)
	r.Failed = append(r.Failed, l.againFailed[:n]...)
	l.againFailed = removeFirst(l.againFailed, n)
}

// reported counts units down. A message without any more is Done.
func (l *Ledger) reported(m *Message, n int, r *Report) {
	if m.unreported -= n; m.unreported == 0 {
		l.remove(m)
		r.Done = append(r.Done, m)
	}
}

func (o *Outstanding) unit(m *Message, i int32) {
	o.Units++
	o.add(m.costs[i])
}

// acked turns a message's bits into ranges.
func (o *Outstanding) acked(m *Message, r *Report) (n int) {
	for w, word := range m.acked {
		m.acked[w] = 0
		m.told[w] |= word
		for ; word != 0; word &= word - 1 {
			i := int32(w*64 + bits.TrailingZeros64(word))
			o.unit(m, i)
			r.Acked = appendRange(r.Acked, m.first+uint64(i), 1)
			n++
		}
	}
	m.dirty = false
	return n
}

// appendRange adds numbers to a list, joined with its last range if they go on from it.
func appendRange(list []wire.Range, first, count uint64) []wire.Range {
	if n := len(list); n > 0 && list[n-1].First+list[n-1].Count == first {
		list[n-1].Count += count
		return list
	}
	return append(list, wire.Range{First: first, Count: count})
}

func removeFirst[T any](list []T, n int) []T {
	m := copy(list, list[n:])
	clear(list[m:])
	return list[:m]
}
