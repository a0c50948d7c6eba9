package sidecar

import (
	"fmt"
	"hash/maphash"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// ownedBy tells whether the peer may go on with the session. Apps are compared before.
func (s *session) ownedBy(p peer.Info) bool {
	return peer.SameOwner(s.app.Token != "", s.from(), p, s.process)
}

// isOf tells whether a client may go on with the session, or begin it anew. Two clients of one
// owner that chose one id are two all the same: the one would take the other's reports for its own.
func (s *session) isOf(a *app, client string, p peer.Info) bool {
	return s.app == a && s.client == client && s.ownedBy(p)
}

// from is who is at the other end of its stream, or was.
func (s *session) from() peer.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// givesWayTo tells whether the peer may end the grace of the session, which broke: it owns it, or
// the session's process may be a former one of the peer's user. One that is proven to live is not.
// Where the process is proven dead, or the grace is over, there is none to protect.
func (s *session) givesWayTo(p peer.Info) bool {
	if s.ownedBy(p) || s.idClosed() || s.process.ProvenDead() {
		return true
	}
	return peer.FormerOf(s.process, s.from(), p)
}

// mayAssign tells why the session may not speak for a member. The caller holds apps.assigning, so that
// two sessions cannot both find it free.
func (t *table) mayAssign(s *session, m membership) error {
	p := s.from()
	if err := t.mayJoin(s, p, m.group); err != nil {
		return err
	}
	for _, other := range t.all() {
		if other != s && other.keeps(m) && (other.app != s.app || !other.ownedBy(p)) {
			return t.memberHeld(s, p, m.group, "member "+m.member)
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

// keeps tells whether a living session speaks for the member, or, while it has its stream, for the
// static instance: one that broke may be a former process.
func (s *session) keeps(m membership) bool {
	dead := s.process.ProvenDead()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.over() || dead || m.member == "" {
		return false
	}
	for _, own := range s.members {
		if own.group == m.group && (own.member == m.member || m.instance != "" && own.instance == m.instance && s.streams()) {
			return true
		}
	}
	return false
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
