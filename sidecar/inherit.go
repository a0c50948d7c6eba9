package sidecar

import (
	"fmt"
	"time"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureInherit is the ability to wait, before a static member joins its group, for the will of its former process.
const featureInherit = "inherit"

// inheritEvery is how often it is looked whether a former process's will is still to come. Sessions may come back, end or be replaced meanwhile.
const inheritEvery = 10 * time.Millisecond

// answerHeir answers when no will of a former process of that static member is left. As soon as the new process has joined, the broker gives the member another id
// and refuses everything that comes under the old one (FENCED_INSTANCE_ID): the will would have nothing to commit any more.
func (s *session) answerHeir(d *delivery, in *sidecarpb.Inherit) error {
	if n := d.heirs.Add(1); n > maxGroups {
		return fmt.Errorf("%w: more than %d unanswered Inherit messages", errViolation, maxGroups)
	}
	s.mu.Lock()
	err := s.current(d)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	id, group, instance := in.GetRequestId(), in.GetGroup(), in.GetInstanceId()
	s.server.outliving.Go(func() {
		defer d.heirs.Add(-1)
		if s.awaitWills(group, instance) {
			s.answer(d, &sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Inherited{Inherited: &sidecarpb.Inherited{RequestId: id}}})
		}
	})
	return nil
}

// awaitWills returns false if the session ends first, or the sidecar.
func (s *session) awaitWills(group, instance string) bool {
	look := time.NewTicker(inheritEvery)
	defer look.Stop()
	for s.server.predecessor(s, group, instance) {
		select {
		case <-look.C:
		case <-s.ctx.Done():
			return false
		case <-s.server.life.Done():
			return false
		}
	}
	return true
}

// predecessor tells whether another session has a will to come for that static member. Its grace is over: two processes cannot be one member.
func (s *Server) predecessor(heir *session, group, instance string) bool {
	found := false
	for _, old := range s.snapshot() {
		if old != heir && old.app == heir.app && old.leavesStatic(group, instance) {
			old.hurry()
			found = true
		}
	}
	return found
}

// leavesStatic tells whether the session has a membership of that static member, and a process that is dead, or taken for dead. One that lives commits itself.
func (s *session) leavesStatic(group, instance string) bool {
	dead := s.process.dead()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead || s.goodbye || s.stream != nil && !s.closing && !dead {
		return false
	}
	for _, m := range s.members {
		if m.group == group && m.instance == instance && m.member != "" {
			return true
		}
	}
	return false
}

// answer queues a message for a stream, if the session still goes on with it. Otherwise its client asks again.
func (s *session) answer(d *delivery, m *sidecarpb.DeliveryStreamResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current(d) == nil {
		s.queue(m)
	}
}
