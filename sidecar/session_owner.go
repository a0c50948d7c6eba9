package sidecar

import (
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// ownedBy tells whether the peer may go on with the session. Apps are compared before.
func (s *session) ownedBy(p peer.Info) bool {
	return peer.SameOwner(s.app.HasToken(), s.from(), p, s.process)
}

// isOf tells whether a client may go on with the session, or begin it anew. Two clients of one
// owner that chose one id are two all the same: the one would take the other's reports for its own.
func (s *session) isOf(a *apps.App, client string, p peer.Info) bool {
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
