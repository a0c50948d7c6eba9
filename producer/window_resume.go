package producer

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/wire"
)

// unreported returns what Hello tells of a session that goes on: the numbers that were sent and
// neither reported nor given back.
func (w *window) unreported() (list []wire.Range) {
	for _, f := range w.frames {
		if f.first >= w.unsent {
			break
		}
		for seq := f.first; seq < f.end() && f.left > 0; seq++ {
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

// lastReport returns the highest number below which everything was reported, itself included.
func (w *window) lastReport() uint64 {
	if list := w.unreported(); len(list) > 0 {
		return list[0].First - 1
	}
	return w.unsent - 1
}

// received demands that the sidecar can have received the numbers up to high, and no more: a number
// that was sent, not below one that it reported, and the last one of a message, because messages
// arrive whole.
func (w *window) received(high uint64) error {
	switch {
	case high >= w.unsent:
		return fmt.Errorf("%d is the highest number received, but only 1 to %d were sent in this session", high, w.unsent-1)
	case high < w.seen:
		return fmt.Errorf("%d is the highest number received, but %d was reported", high, w.seen)
	}
	if i := w.frameOf(high + 1); i < len(w.frames) && w.frames[i].first <= high {
		return fmt.Errorf("%d is the highest number received, but it stands inside a message", high)
	}
	return nil
}

// resume goes on with a session of which the sidecar received the numbers up to high, that passed
// received. What lies above is sent again under the same numbers, or fails where bad names an
// error; the rest counts as sent, and its reports will come.
func (w *window) resume(high uint64, bad func(slotInfo) *Error) {
	w.rebuild(high+1, high+1, bad)
	if w.back != 0 && w.allBack() {
		w.takeBack(bad)
	}
}

// giveBack notes a unit that passed check and that the sidecar reported as not begun. From then on
// nothing is sent: what was sent after the unit must be given back or reported first, or it would
// overtake the unit (S7).
func (w *window) giveBack(seq uint64) {
	w.seen = max(w.seen, seq)
	f := w.frames[w.frameOf(seq)]
	f.slot(seq).records |= returnedBit
	if w.back == 0 || f.first < w.back {
		w.back = f.first
	}
}

// allBack tells that everything sent from the first unit given back on is given back or reported.
func (w *window) allBack() bool {
	for _, f := range w.frames[w.frameOf(w.back):] {
		for seq := f.first; seq < min(f.end(), w.unsent); seq++ {
			if s := f.slot(seq); !s.reported() && !s.returned() {
				return false
			}
		}
	}
	return true
}

// takeBack gives the units that came back, and all after them, the next numbers of the session.
func (w *window) takeBack(bad func(slotInfo) *Error) {
	w.rebuild(w.back, w.unsent, bad)
}

// holdsSent tells whether a unit of these epochs was sent and not reported.
func (w *window) holdsSent(epochs []uint64) bool {
	for _, f := range w.frames {
		if f.first >= w.unsent {
			break
		}
		for _, s := range f.slots {
			if f.left == 0 || s.reported() {
				continue
			}
			for _, e := range epochs {
				if s.epoch == e {
					return true
				}
			}
		}
	}
	return false
}
