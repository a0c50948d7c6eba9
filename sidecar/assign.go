package sidecar

import (
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// assign takes over an Assign message.
func (s *streams) assign(d *stream, a *sidecarpb.Assign) error {
	sess, m := d.session, assigned.MembershipOf(a)
	if err := s.enter(d, a, m); err != nil || sess.claims == nil {
		return err
	}
	if err := s.mayCommit(sess, m, a.GetPartitions()); err != nil {
		return err
	}
	return s.claim(d, m, a.GetPartitions())
}

// enter has the session hold what it says, if its app may speak for the member.
func (s *streams) enter(d *stream, a *sidecarpb.Assign, m assigned.Membership) error {
	sess := d.session
	s.apps.Assigning.Lock()
	defer s.apps.Assigning.Unlock()
	if err := s.sessions.mayAssign(sess, m); err != nil {
		return err
	}
	cluster, err := sess.assign(d, m, a.GetPartitions())
	if err == nil {
		sess.speaks(m.MemberKey, a.GetMore())
		s.sessions.state.write(sess)
	}
	if why := s.wills.noWill(m); cluster && why != nil {
		s.log.Warn("there will be no will for a membership", "app", sess.app.Name, "session", sess.id, "group", m.Group, "member", m.ID, "reason", why)
	}
	return err
}

// atOnce sends what lingers: a client that leaves, or a partition that does, waits for it.
func (s *streams) atOnce(err error) error {
	s.sink.pace.Now()
	return err
}
