package sidecar

import (
	"slices"

	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
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
	if begin := d.begin; begin != nil {
		d.begin = nil
		begin()
	}
	d.notify()
}

// outgoing is what the sender takes at once. Its slices are used again.
type outgoing struct {
	ledger.Report

	cold  []*sidecarpb.DeliveryStreamResponse
	last  bool // nothing more will come
	again bool // and the client is to begin anew
}

// take moves what is to be sent into out, and gives the credit of what it reports back. Cold
// messages come only behind all reports that were there before them: Released must not overtake the
// reports of the units that it speaks of. The error is why this stream has nothing to say any more.
func (s *session) take(d *stream, out *outgoing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.woken = false
	out.cold, out.last = nil, false
	if d.stopped {
		return errStreamDone
	}
	if err := s.current(d); err != nil {
		return err
	}
	back, more := s.ledger.Take(&out.Report)
	s.app.Outstanding.Sub(back.Bytes, back.Records)
	for _, m := range out.Done {
		m.Owner.(*frame).hold(1) //nolint:forcetypeassert // only frames are received
	}
	if more {
		s.signal()
		return nil
	}
	out.cold, s.cold = s.cold, nil
	s.held.Answered(out.cold)
	out.last = s.state.leaves() && s.ledger.Open() == 0
	out.again = s.state == stateDraining
	return nil
}

// answer queues a message for a stream, if the session still goes on with it. Otherwise its client
// asks again.
func (s *session) answer(d *stream, m *sidecarpb.DeliveryStreamResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current(d) == nil {
		s.queue(m)
	}
}

// status is what Status says of it.
func (s *session) status(noWill func(assigned.Membership) error) *sidecarpb.SessionStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &sidecarpb.SessionStatus{
		App: s.app.Name, SessionId: s.id, PeerPid: int64(s.peer.PID), State: s.state.word(),
		OutstandingUnits: uint64(s.ledger.Outstanding().Units), OutstandingBytes: uint64(s.ledger.Outstanding().Bytes),
		HighestSequence: s.ledger.Received(), CreditBytes: s.credit.message(0).GetBytes(), CreditRecords: s.credit.message(0).GetRecords(),
		FollowsRoutes: s.followsRoutes(), ExactlyOnce: s.claims != nil,
	}
	for _, m := range s.held.Memberships() { // nearly always one
		out.Group, out.MemberId, out.Generation = m.Group, m.ID, m.Generation
		if !slices.Contains(out.GetGroups(), m.Group) {
			out.Groups = append(out.Groups, m.Group)
		}
		if why := noWill(m); why != nil {
			out.NoWill = why.Error()
		}
	}
	for _, e := range s.held.Partitions() {
		out.Partitions = append(out.Partitions, &sidecarpb.SessionPartition{Topic: e.Topic, Partition: e.Index, Epoch: e.Epoch, AckMark: e.Core.FollowedMark(), Pending: uint64(e.Open), Group: e.Of.Group})
	}
	return out
}
