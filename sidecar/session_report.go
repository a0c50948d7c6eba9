package sidecar

import (
	"math/bits"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// queue puts a message behind the reports that are there now. mu is held.
func (s *session) queue(m *sidecarpb.DeliveryStreamResponse) {
	s.cold = append(s.cold, m)
	s.signal()
}

func (s *session) send(m *sidecarpb.DeliveryStreamResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue(m)
}

// signal wakes the sender, once until it has looked. mu is held.
func (s *session) signal() {
	d := s.stream
	if !s.state.streams() || d.woken {
		return
	}
	d.woken = true
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

const (
	maxRanges   = 2048 // in one message; about 20 KiB
	maxFailures = 128
)

// outgoing is what the sender takes at once. Its slices are used again.
type outgoing struct {
	acked  []wire.Range
	failed []*sidecarpb.UnitFailure
	cold   []*sidecarpb.DeliveryStreamResponse
	last   bool // nothing more will come
}

func (o *outgoing) empty() bool { return len(o.acked) == 0 && len(o.failed) == 0 && len(o.cold) == 0 }

// take moves what is to be sent into out, and gives the credit of what it reports back. Cold messages come only behind all reports
// that were there before them: Released must not overtake the reports of the units that it speaks of.
// The error is why this stream has nothing to say any more.
func (s *session) take(d *delivery, out *outgoing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.woken = false
	out.acked, out.failed, out.cold, out.last = out.acked[:0], out.failed[:0], nil, false
	if err := s.current(d); err != nil {
		return err
	}
	s.takeAgain(out)
	taken := credit{}
	done := 0
	for _, f := range s.dirty {
		if len(out.acked) >= maxRanges {
			break
		}
		taken.acked(f, out)
		done++
	}
	s.dirty = removeFirst(s.dirty, done)
	n := min(len(s.failed), max(0, maxFailures-len(out.failed)))
	for _, x := range s.failed[:n] {
		taken.unit(x.frame, x.unit)
		failure := x.frame.units[x.unit].failure
		out.failed = append(out.failed, failure)
		x.frame.told[x.unit/64] |= 1 << (x.unit % 64)
		if s.resumable {
			s.told.add(failure)
		}
		x.frame.reported(1)
	}
	s.failed = removeFirst(s.failed, n)
	s.outUnits -= taken.units
	s.outBytes -= taken.bytes
	s.outRecords -= taken.records
	s.app.meter.sub(taken.bytes, taken.records)
	if len(s.dirty) == 0 && len(s.failed) == 0 && len(s.again) == 0 && len(s.againFail) == 0 {
		out.cold, s.cold = s.cold, nil
		s.stock.answered(out.cold)
		out.last = s.state.leaves() && s.open == 0
	} else {
		s.signal()
	}
	return nil
}

func removeFirst[T any](list []T, n int) []T {
	m := copy(list, list[n:])
	clear(list[m:])
	return list[:m]
}

// credit is what reported units give back.
type credit struct{ units, bytes, records int64 }

func (c *credit) unit(f *frame, i int32) {
	u := &f.units[i]
	c.units++
	c.bytes += u.size
	c.records += u.records()
}

// acked turns a frame's bits into ranges.
func (c *credit) acked(f *frame, out *outgoing) {
	n := 0
	for w, word := range f.acked {
		f.acked[w] = 0
		f.told[w] |= word
		for ; word != 0; word &= word - 1 {
			i := int32(w*64 + bits.TrailingZeros64(word))
			c.unit(f, i)
			out.add(f.first + uint64(i))
			n++
		}
	}
	f.dirty = false
	f.reported(n)
}

func (o *outgoing) add(seq uint64) {
	if n := len(o.acked); n > 0 && o.acked[n-1].First+o.acked[n-1].Count == seq {
		o.acked[n-1].Count++
		return
	}
	o.acked = append(o.acked, wire.Range{First: seq, Count: 1})
}

// reported counts units down; the frame is not needed for reports any more when none is left. session.mu is held.
func (f *frame) reported(n int) {
	if f.unreported -= n; f.unreported == 0 {
		f.session.frames.remove(f)
		f.hold(1)
	}
}
