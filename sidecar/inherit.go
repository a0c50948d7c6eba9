package sidecar

import (
	"fmt"
	"slices"
	"time"

	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureInherit is the ability to wait, before a static member joins its group, for the will of
// its former process.
const featureInherit = "inherit"

// inheritEvery is how often it is looked whether a former process's will is still to come. Sessions
// may come back, end or be replaced meanwhile.
const inheritEvery = 10 * time.Millisecond

// inherit answers when no will of a former process of that static member is left. As soon as the
// new process has joined, the broker gives the member another id and refuses everything that comes
// under the old one (FENCED_INSTANCE_ID): the will would have nothing to commit any more.
func (s *streams) inherit(d *stream, in *sidecarpb.Inherit) error {
	if n := d.heirs.Add(1); n > assigned.MaxGroups {
		return fmt.Errorf("%w: more than %d unanswered Inherit messages", errViolation, assigned.MaxGroups)
	}
	sess := d.session
	if err := sess.goesOn(d); err != nil {
		return err
	}
	id, group, instance := in.GetRequestId(), in.GetGroup(), in.GetInstanceId()
	if err := s.sessions.mayInherit(sess, group, instance); err != nil {
		return err
	}
	s.wills.waiting.Go(func() {
		defer d.heirs.Add(-1)
		if s.wills.await(sess, group, instance) {
			sess.answer(d, &sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Inherited{Inherited: &sidecarpb.Inherited{RequestId: id}}})
		}
	})
	return nil
}

// await returns false if the session ends first, or the sidecar.
func (w *wills) await(s *session, group, instance string) bool {
	look := time.NewTicker(inheritEvery)
	defer look.Stop()
	for w.sessions.predecessor(s, group, instance) {
		select {
		case <-look.C:
		case <-s.ctx.Done():
			return false
		case <-w.life.Done():
			return false
		}
	}
	return true
}

// mayInherit tells why the session may not end the grace of those that hold the static member: its
// app may not speak for the group, or one of them is a stranger's. That one keeps its grace, and
// who asks again after it is answered.
func (t *table) mayInherit(s *session, group, instance string) error {
	p := s.from()
	if err := t.mayJoin(s, p, group); err != nil {
		return err
	}
	for _, old := range t.predecessors(s, group, instance) {
		if !old.givesWayTo(p) {
			return t.memberHeld(s, p, group, "static member "+instance)
		}
	}
	return nil
}

// predecessors are the app's other sessions that have a will to come for that static member.
func (t *table) predecessors(heir *session, group, instance string) []*session {
	return slices.DeleteFunc(t.all(), func(old *session) bool {
		return old == heir || old.app != heir.app || !old.leavesStatic(group, instance)
	})
}

// predecessor tells whether there is one. Its grace is over: two processes cannot be one member. A
// stranger's, whose stream broke since the heir asked, keeps its grace.
func (t *table) predecessor(heir *session, group, instance string) bool {
	p := heir.from()
	old := t.predecessors(heir, group, instance)
	for _, o := range old {
		if o.givesWayTo(p) {
			o.endGrace()
		}
	}
	return len(old) > 0
}
