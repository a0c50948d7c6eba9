package sidecar

import (
	"fmt"
	"hash/maphash"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// mayAssign tells why the session may not speak for a member. The caller holds Apps.Assigning, so
// that two sessions cannot both find it free.
func (t *table) mayAssign(s *session, m assigned.Membership) error {
	p := s.from()
	if err := t.mayJoin(s, p, m.Group); err != nil {
		return err
	}
	for _, other := range t.all() {
		if other != s && other.keeps(m) && (other.app != s.app || !other.ownedBy(p)) {
			return t.memberHeld(s, p, m.Group, "member "+m.ID)
		}
	}
	return nil
}

// mayJoin tells why the session's app may not speak for the group, and notes it.
func (t *table) mayJoin(s *session, p peer.Info, group string) error {
	why := s.app.RefuseGroup(group)
	if why != nil {
		t.apps.Refusals.Note(p, s.app.Name, apps.RefusedGroup, why.Error())
	}
	return why
}

// memberHeld refuses, for now, to speak for a member that another process's session has, and notes
// it.
func (t *table) memberHeld(s *session, p peer.Info, group, member string) error {
	t.apps.Refusals.Note(p, s.app.Name, apps.RefusedMember, "another living session speaks for "+member+" of group "+group)
	return status.Errorf(codes.Unavailable, "%s: another living session speaks for this member of group %.255q: a member is one process; stop the other one, "+
		"give this one another member or instance id, or give both the app's token", wire.CodeMemberHeld, group)
}

var aliasSeed = maphash.MakeSeed()

// alias is what Status calls a session: one who asks over a connection must not learn an id by
// which a session is gone on with.
func alias(id string) string { return fmt.Sprintf("%016x", maphash.String(aliasSeed, id)) }
