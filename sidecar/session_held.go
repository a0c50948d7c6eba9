package sidecar

import (
	"fmt"
	"log/slog"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lastwill"
	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// assign enters what a member was assigned, and tells whether the member's cluster is news.
func (s *session) assign(d *stream, m assigned.Membership, partitions []*sidecarpb.AssignedPartition) (cluster bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(d); err != nil {
		return false, err
	}
	cluster, err = s.held.EnterMember(m)
	for i := 0; err == nil && i < len(partitions); i++ {
		err = s.held.Enter(m.MemberKey, partitions[i])
	}
	return cluster, violation(err)
}

// release answers at once, or when the last unit of these assignments is finished.
func (s *session) release(d *stream, r *sidecarpb.Release) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(d); err != nil {
		return err
	}
	now, err := s.held.Release(r)
	s.claims.release(r)
	if now {
		s.released(r.GetRequestId())
	}
	return violation(err)
}

// released is called with mu held. The reports of the released units are taken before it is sent
// (see take).
func (s *session) released(request uint64) {
	answer := &sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Released{Released: &sidecarpb.Released{RequestId: request}}}
	if s.claims != nil {
		s.claims.let(s, request, answer)
		return
	}
	s.queue(answer)
}

// finished ends a unit of an assignment. mu is held.
func (s *session) finished(u *unit, acked bool) {
	for _, request := range s.held.Finish(u.of, u.src.Index, acked) {
		s.released(request)
	}
}

// holds tells which of the assignments are the session's and not released.
func (s *session) holds(epochs []uint64) []bool {
	out := make([]bool, len(epochs))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, epoch := range epochs {
		e := s.held.Partition(epoch)
		out[i] = e != nil && !e.Released()
	}
	return out
}

func unknownAssignment(epoch uint64) *sidecarpb.UnitFailure {
	return failure(0, "", -1, wire.CodeUnknownAssignment,
		fmt.Sprintf("assignment epoch %d is not held by this session: announce it by Assign before its first unit, and send no units after its Release", epoch))
}

// refused returns how many units came for assignments that the session did not hold.
func (s *session) refused() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held.Refused()
}

// speaksFor tells whether a session that is not over speaks for the member.
func (s *session) speaksFor(m assigned.Membership) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.over() || m.ID == "" {
		return false
	}
	return s.held.Speaks(func(own *assigned.Membership) bool { return own.Group == m.Group && own.ID == m.ID })
}

// keeps tells whether a living session speaks for the member, or, while it has its stream, for the
// static instance: one that broke may be a former process.
func (s *session) keeps(m assigned.Membership) bool {
	dead := s.process.ProvenDead()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.over() || dead || m.ID == "" {
		return false
	}
	return s.held.Speaks(func(own *assigned.Membership) bool {
		return own.Group == m.Group && (own.ID == m.ID || m.Instance != "" && own.Instance == m.Instance && s.streams())
	})
}

// leavesStatic tells whether the session has a membership of that static member, and a process that
// is dead, or taken for dead. One that lives commits itself.
func (s *session) leavesStatic(group, instance string) bool {
	dead := s.process.ProvenDead()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.willMayCome() || s.streams() && !dead {
		return false
	}
	return s.held.Speaks(func(m *assigned.Membership) bool { return m.Group == group && m.Instance == instance && m.ID != "" })
}

// lastWill is the will of one membership.
type lastWill struct {
	assigned.Membership
	lastwill.Will
}

// lastWills reads what the trackers know. Released assignments are not in it: they may have other
// owners by now.
func (s *session) lastWills(log *slog.Logger, watch *sentinel.Watch) []lastWill {
	s.mu.Lock()
	defer s.mu.Unlock()
	standings := make(map[assigned.MemberKey][]lastwill.Standing)
	for _, e := range s.held.Partitions() {
		if e.Released() || s.claims != nil { // the transactions have committed what is done
			continue
		}
		mark, done := e.Core.Standing()
		if open, known := firstOpen(e.Core); known && sentinel.IsBeyond(mark, open) {
			watch.Found(sentinel.CommitBeyond, "app", s.app.Name, "session", s.id, "topic", e.Topic, "partition", e.Index, "epoch", e.Epoch, "commit", mark, "first_not_done", open)
		}
		standings[e.Of] = append(standings[e.Of], lastwill.Standing{
			Epoch: e.Epoch, Topic: e.Topic, TopicID: e.TopicID, Partition: e.Index, Mark: mark, Done: done,
		})
	}
	var wills []lastWill
	for _, m := range s.held.Memberships() { // one that holds nothing is a member all the same
		if m.Group == "" {
			continue
		}
		wills = append(wills, lastWill{m, lastwill.Will{
			Member:    groupcommit.Member{Group: m.Group, MemberID: m.ID, InstanceID: m.Instance, Generation: m.Generation, Protocol: m.Protocol},
			Standings: standings[m.MemberKey], Log: log,
		}})
	}
	return wills
}

// firstOpen is the first input that came and is not done, or else the tracker's own mark: not known
// where inputs were inherited, which are no entries of it.
func firstOpen(a *assignment.Assignment) (offset int64, known bool) {
	if offset, _, known = a.Oldest(); known || a.Inherits() {
		return offset, known
	}
	return a.Mark(), true
}
