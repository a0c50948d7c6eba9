package sidecar

import (
	"context"
	"os"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/told"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// reader tells whose errors, reasons and hashes of keys the caller may see: this process and the
// pod's owner (the sidecar's own user, and root) all, an app with its token its own, and everybody
// those of sessions that it owns. They may tell of an app's data, which its neighbours need not
// know.
func (s *statuses) reader(ctx context.Context, req *sidecarpb.StatusRequest) (reader, error) {
	p := peer.Of(ctx)
	if !peer.OverWire(ctx) || p.Conn != nil && (p.UID == 0 || int(p.UID) == os.Geteuid()) {
		return reader{true, func(*session) bool { return true }}, nil
	}
	var app *apps.App
	if name := req.GetApp(); name != "" && req.GetState() {
		a, err := s.apps.Admit(ctx, name, req.GetToken())
		if err != nil {
			return reader{}, err
		}
		defer a.Leave()
		app = a
	}
	return reader{false, func(sess *session) bool {
		if sess.app.HasToken() {
			return sess.app == app
		}
		return peer.SameOwner(false, sess.from(), p, sess.process)
	}}, nil
}

// reader is who asks.
type reader struct {
	all bool // it may see everything
	may func(*session) bool
}

// incidents are what happened lately, without the reasons of those that the caller may not see.
// What happened to sessions that are over is seen by who may see all.
func (s *statuses) incidents(who reader) []*sidecarpb.Incident {
	living := s.sessions.all()
	var tellers []*told.Session
	readable := make(map[string]bool)
	for _, sess := range living {
		tellers = append(tellers, sess.told)
		readable[alias(sess.id)] = who.may(sess)
	}
	list := s.sessions.told.All(tellers)
	for i := range list {
		in := &list[i]
		if in.Kind != podstate.Will && in.Kind != podstate.Fence && !who.all && !readable[in.Session] {
			in.Reason = ""
		}
	}
	return podwire.Incidents(list)
}
