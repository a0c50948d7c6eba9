package sidecar

import (
	"fmt"
	"hash/maphash"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// mayAssign tells why the session may not speak for a member. The caller holds apps.assigning, so
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
	why := s.app.refuseGroup(group)
	if why != nil {
		t.apps.refusals.note(p, s.app.Name, refusedGroup, why.Error())
	}
	return why
}

// memberHeld refuses, for now, to speak for a member that another process's session has, and notes
// it.
func (t *table) memberHeld(s *session, p peer.Info, group, member string) error {
	t.apps.refusals.note(p, s.app.Name, refusedMember, "another living session speaks for "+member+" of group "+group)
	return status.Errorf(codes.Unavailable, "%s: another living session speaks for this member of group %.255q: a member is one process; stop the other one, "+
		"give this one another member or instance id, or give both the app's token", wire.CodeMemberHeld, group)
}

// refuseGroup returns why the app may not speak for members of the group, or nil.
func (a *app) refuseGroup(group string) error {
	if a.Groups == nil || matches(a.Groups, group) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%s: app %q may not speak for group %.255q: %s", wire.CodeGroupNotAllowed, a.Name, group, wire.CodeOf(wire.CodeGroupNotAllowed).Remedy)
}

// matches tells whether a name is in a list of names and of prefixes with '*' at their end.
func matches(list []string, name string) bool {
	for _, x := range list {
		if prefix, ok := strings.CutSuffix(x, "*"); x == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

var aliasSeed = maphash.MakeSeed()

// alias is what Status calls a session: one who asks over a connection must not learn an id by
// which a session is gone on with.
func alias(id string) string { return fmt.Sprintf("%016x", maphash.String(aliasSeed, id)) }
