package sidecar

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
)

// sameOwner tells whether who has begun a session, or speaks for a member, and who is there now are
// one: by the app's token, which was compared already, by the client's certificate, or as one
// process. Of connections of a [Config.Listener] nothing is known: who may connect there is its
// owner's business.
func sameOwner(token bool, was, is peerInfo, wasDead bool) bool {
	switch {
	case token:
		return true
	case was.certificate != "" || is.certificate != "":
		return was.certificate == is.certificate
	case was.conn == nil || is.conn == nil:
		return true
	case was.UID != is.UID:
		return false
	case was.inode != 0 && is.inode != 0:
		return was.inode == is.inode
	case was.PID != 0 || is.PID != 0:
		return was.PID == is.PID && !wasDead // a dead one's pid may be another's
	}
	return true // another pid namespace on a kernel before 6.9: nothing but the user is known
}

// ownedBy tells whether the peer may go on with the session. Apps are compared before.
func (s *session) ownedBy(p peerInfo) bool {
	dead := s.process.dead()
	s.mu.Lock()
	defer s.mu.Unlock()
	return sameOwner(s.app.Token != "", s.peer, p, dead)
}

// isOf tells whether a client may go on with the session, or begin it anew. Two clients of one
// owner that chose one id are two all the same: the one would take the other's reports for its own.
func (s *session) isOf(a *app, client string, p peerInfo) bool {
	return s.app == a && s.client == client && s.ownedBy(p)
}

// givesWayTo tells whether the peer may end the grace of the session, which broke: it owns it, or
// the session's process may be a former one of the peer's user. One that is proven to live is not.
// Where the process is proven dead, or the grace is over, there is none to protect.
func (s *session) givesWayTo(p peerInfo) bool {
	if s.ownedBy(p) || s.isClosed() || s.process.dead() {
		return true
	}
	s.mu.Lock()
	was := s.peer
	s.mu.Unlock()
	return formerOf(s.process, was, p)
}

// formerOf tells whether a process may be a former one of a peer's: of the same user, and not
// proven to live.
func formerOf(old *process, was, is peerInfo) bool {
	return !old.lives() && was.UID == is.UID && was.certificate == is.certificate
}

// mayAssign tells why the session may not speak for a member. The caller holds Server.assigning, so
// that two sessions cannot both find it free.
func (s *session) mayAssign(m membership) error {
	s.mu.Lock()
	p := s.peer
	s.mu.Unlock()
	if err := s.mayJoin(p, m.group); err != nil {
		return err
	}
	for _, other := range s.server.snapshot() {
		if other != s && other.keeps(m) && (other.app != s.app || !other.ownedBy(p)) {
			return s.memberHeld(p, m.group, "member "+m.member)
		}
	}
	return nil
}

// mayJoin tells why the session's app may not speak for the group, and notes it.
func (s *session) mayJoin(p peerInfo, group string) error {
	why := s.app.refuseGroup(group)
	if why != nil {
		s.server.apps.refusals.note(s.server.log, p, s.app.Name, refusedGroup, why.Error())
	}
	return why
}

// memberHeld refuses, for now, to speak for a member that another process's session has, and notes
// it.
func (s *session) memberHeld(p peerInfo, group, member string) error {
	s.server.apps.refusals.note(s.server.log, p, s.app.Name, refusedMember, "another living session speaks for "+member+" of group "+group)
	return status.Errorf(codes.Unavailable, "%s: another living session speaks for this member of group %.255q: a member is one process; stop the other one, "+
		"give this one another member or instance id, or give both the app's token", wire.CodeMemberHeld, group)
}

// keeps tells whether a living session speaks for the member, or, while it has its stream, for the
// static instance: one that broke may be a former process.
func (s *session) keeps(m membership) bool {
	dead := s.process.dead()
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

// certificateOf is what stays of a client's certificate when it is renewed: who issued it, and to
// whom.
func certificateOf(info credentials.TLSInfo) string {
	if len(info.State.PeerCertificates) == 0 {
		return ""
	}
	return certificateIdentity(info.State.PeerCertificates[0])
}

func certificateIdentity(c *x509.Certificate) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q %q", c.RawIssuer, c.RawSubject, c.DNSNames, c.EmailAddresses, c.IPAddresses, c.URIs)
	return hex.EncodeToString(h.Sum(nil))
}

var aliasSeed = maphash.MakeSeed()

// alias is what Status calls a session: one who asks over a connection must not learn an id by
// which a session is gone on with.
func alias(id string) string { return fmt.Sprintf("%016x", maphash.String(aliasSeed, id)) }

// overWire tells whether a call came from a peer, not from this process through Server's methods.
func overWire(ctx context.Context) bool {
	_, ok := peer.FromContext(ctx)
	return ok
}
