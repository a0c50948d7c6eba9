package sidecar

import (
	"github.com/ackmark/ackmark/internal/ledger"
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

// outgoing is what the sender takes at once. Its slices are used again.
type outgoing struct {
	ledger.Report

	cold []*sidecarpb.DeliveryStreamResponse
	last bool // nothing more will come
}

// take moves what is to be sent into out, and gives the credit of what it reports back. Cold
// messages come only behind all reports that were there before them: Released must not overtake the
// reports of the units that it speaks of. The error is why this stream has nothing to say any more.
func (s *session) take(d *stream, out *outgoing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.woken = false
	out.cold, out.last = nil, false
	if err := s.current(d); err != nil {
		return err
	}
	back, more := s.ledger.Take(&out.Report)
	s.app.meter.Sub(back.Bytes, back.Records)
	for _, m := range out.Done {
		m.Owner.(*frame).hold(1) //nolint:forcetypeassert // only frames are received
	}
	if more {
		s.signal()
		return nil
	}
	out.cold, s.cold = s.cold, nil
	s.stock.answered(out.cold)
	out.last = s.state.leaves() && s.ledger.Open() == 0
	return nil
}
