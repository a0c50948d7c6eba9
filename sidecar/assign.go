package sidecar

import (
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// assign takes over an Assign message.
func (s *streams) assign(d *stream, a *sidecarpb.Assign) error {
	sess, m := d.session, assigned.MembershipOf(a)
	s.apps.Assigning.Lock()
	defer s.apps.Assigning.Unlock()
	if err := s.sessions.mayAssign(sess, m); err != nil {
		return err
	}
	cluster, err := sess.assign(d, m, a.GetPartitions())
	if why := s.wills.noWill(m); cluster && why != nil {
		s.log.Warn("there will be no will for a membership", "app", sess.app.Name, "session", sess.id, "group", m.Group, "member", m.ID, "reason", why)
	}
	return err
}
