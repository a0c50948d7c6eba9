package resend

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/wire"
)

// Unreported returns what Hello tells of a session that goes on: the numbers that were sent and
// neither reported nor given back.
func (q *Queue[O, E]) Unreported() (list []wire.Range) {
	for _, f := range q.frames {
		if f.First >= q.unsent {
			break
		}
		for seq := f.First; seq < f.End() && f.left > 0; seq++ {
			if s := f.slot(seq); s.reported() || s.returned() {
				continue
			}
			if n := len(list); n > 0 && list[n-1].First+list[n-1].Count == seq {
				list[n-1].Count++
			} else {
				list = append(list, wire.Range{First: seq, Count: 1})
			}
		}
	}
	return list
}

// LastReport returns the highest number below which everything was reported, itself included.
func (q *Queue[O, E]) LastReport() uint64 {
	if list := q.Unreported(); len(list) > 0 {
		return list[0].First - 1
	}
	return q.unsent - 1
}

// Received demands that the sidecar can have received the numbers up to high, and no more: a number
// that was sent, not below one that it reported, and the last one of a message, because messages
// arrive whole.
func (q *Queue[O, E]) Received(high uint64) error {
	switch {
	case high >= q.unsent:
		return fmt.Errorf("%d is the highest number received, but only 1 to %d were sent in this session", high, q.unsent-1)
	case high < q.seen:
		return fmt.Errorf("%d is the highest number received, but %d was reported", high, q.seen)
	}
	if i := q.frameOf(high + 1); i < len(q.frames) && q.frames[i].First <= high {
		return fmt.Errorf("%d is the highest number received, but it stands inside a message", high)
	}
	return nil
}

// Resume goes on with a session of which the sidecar received the numbers up to high, that passed
// Received. What lies above is sent again under the same numbers, or fails where bad names an
// error; the rest counts as sent, and its reports will come.
func (q *Queue[O, E]) Resume(high uint64, bad func(Slot) *E) {
	q.Rebuild(high+1, high+1, bad)
	if q.AllBack() {
		q.TakeBack(bad)
	}
}

// GiveBack notes a unit that passed Check and that the sidecar reported as not begun. From then on
// nothing is sent: what was sent after the unit must be given back or reported first, or it would
// overtake the unit (S7).
func (q *Queue[O, E]) GiveBack(seq uint64) {
	q.seen = max(q.seen, seq)
	f := q.frames[q.frameOf(seq)]
	f.slot(seq).records |= returnedBit
	if q.back == 0 || f.First < q.back {
		q.back = f.First
	}
}

// AllBack tells that units were given back, and that everything sent from the first of them on is
// given back or reported: they can be taken back.
func (q *Queue[O, E]) AllBack() bool {
	if q.back == 0 {
		return false
	}
	for _, f := range q.frames[q.frameOf(q.back):] {
		for seq := f.First; seq < min(f.End(), q.unsent); seq++ {
			if s := f.slot(seq); !s.reported() && !s.returned() {
				return false
			}
		}
	}
	return true
}

// TakeBack gives the units that came back, and all after them, the next numbers of the session.
func (q *Queue[O, E]) TakeBack(bad func(Slot) *E) {
	q.Rebuild(q.back, q.unsent, bad)
}

// HoldsSent tells whether a unit of these epochs was sent and not reported.
func (q *Queue[O, E]) HoldsSent(epochs []uint64) bool {
	for _, f := range q.frames {
		if f.First >= q.unsent {
			break
		}
		for _, s := range f.slots {
			if f.left == 0 || s.reported() {
				continue
			}
			for _, e := range epochs {
				if s.Epoch == e {
					return true
				}
			}
		}
	}
	return false
}
