package sidecar

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureResume is the ability to go on with a session on another stream.
const featureResume = "resume"

// featureEpochs is the ability to execute wills of members of the consumer protocol, static ones
// too.
const featureEpochs = "epochs"

// featureCredit is the ability to take a smaller credit.
const featureCredit = "credit"

// features that this sidecar has, beside those of version 1.
var features = []string{featureResume, featureInherit, featureRoutes, featureEpochs, featureCredit, podwire.Feature}

func (s *streams) welcome(h *sidecarpb.Hello) *sidecarpb.Welcome {
	both := slices.DeleteFunc(slices.Concat(features, s.transactions.features()), func(f string) bool { return !slices.Contains(h.GetFeatures(), f) })
	w := &sidecarpb.Welcome{
		Version: ProtocolVersion, Features: both, SidecarId: s.identity.id, ServerVersion: s.identity.version, MaxMessageBytes: uint32(s.maxMessageBytes), ClusterId: s.brokers.ClusterID(),
	}
	if exactlyOnce(both) {
		w.TransactionalId = s.transactions.id
	}
	return w
}

func exactlyOnce(features []string) bool { return slices.Contains(features, featureExactlyOnce) }

// fencedStatus tells a client that its session is over for good.
func fencedStatus(why string) error {
	return status.Error(codes.Aborted, wire.CodeSessionFenced+": "+why)
}

// join begins a session, or goes on with one.
func (s *streams) join(d *stream, h *sidecarpb.Hello, a *apps.App) (*session, error) {
	p := peer.Of(d.rpc.Context())
	s.brokers.Await(d.rpc.Context())
	d.welcome = s.welcome(h)
	if exactlyOnce(d.welcome.GetFeatures()) {
		if err := s.transactions.await(d.rpc.Context()); err != nil {
			return nil, err
		}
	}
	d.followsRoutes = slices.Contains(d.welcome.GetFeatures(), featureRoutes)
	sess, err := s.resume(d, p, h, a)
	if sess == nil && err == nil {
		sess, err = s.open(d, p, h, a)
	}
	if err != nil {
		return nil, err
	}
	d.welcome.Credit = sess.credit.message(0)
	return sess, nil
}

// resume goes on with a session that is here, or tells that it is over, or returns nil: a session
// begins.
func (s *streams) resume(d *stream, p peer.Info, h *sidecarpb.Hello, a *apps.App) (*session, error) {
	old, over := s.sessions.find(h.GetSessionId())
	switch {
	case over:
		const why = "its process was taken for dead: its will was executed, and its partitions have left it"
		s.wills.fence(a, h.GetSessionId(), why)
		return nil, fencedStatus(why)
	case old != nil && !old.isOf(a, h.GetClientId(), p):
		s.wills.fence(a, old.id, "another process or client asked for this session")
		s.apps.Refusals.Note(p, a.Name, apps.RefusedSession, "another process or client has this session")
		if old.app == a && old.givesWayTo(p) && !old.process.ProvenAlive() {
			old.endGrace()
		}
		return nil, fencedStatus("another process has this session, or died with it, or another client of this one: choose a unique id")
	case old == nil || !old.resumable || !slices.Contains(h.GetFeatures(), featureResume) || old.blank() || (old.claims != nil) != exactlyOnce(d.welcome.GetFeatures()):
		return nil, nil
	case old.fromFile && h.GetClientId() != "" && h.GetPreviousSidecarId() == "":
		return nil, nil // the same client: it went another way while its sidecar was away (fallback), and begins anew
	case h.GetPreviousSidecarId() == "": // another process has this name, or had it
		s.wills.fence(a, old.id, "another process has this name, or had it")
		old.endGrace()
		return nil, fencedStatus("another process has this session, or died with it: choose a unique id")
	case h.GetPreviousSidecarId() != s.identity.id:
		return nil, nil
	}
	if s.drain.begun.Load() {
		return nil, errDraining
	}
	high, how, err := old.attach(d, p, h)
	switch {
	case err != nil:
		return nil, err
	case how == overAlready:
		return nil, s.wills.refuse(d.rpc.Context(), old, "its process was taken for dead: its will was executed, and its partitions have left it")
	case how == unresumed:
		return nil, nil
	}
	d.welcome.Resumed, d.welcome.HighestSequence = true, high
	s.sessions.creditHeard(old)
	s.wills.stats.resumed.Add(1)
	a.Counts.Began.Add(flows.Resumed, 1)
	s.log.Info("session goes on with another stream", "app", a.Name, "session", old.id, "pid", p.PID, "received", high)
	return old, nil
}

// open begins a session. One of the same id is ended first, and has handed its last record to kgo
// before open returns, so that what is sent again cannot be overtaken by it (S7). The new session
// is "handling" until then: a third stream, which replaces it meanwhile, waits for it and with it
// for the first.
func (s *streams) open(d *stream, p peer.Info, h *sidecarpb.Hello, a *apps.App) (*session, error) {
	sess := s.sessions.begin(h.GetSessionId(), a, slices.Contains(h.GetFeatures(), featureResume))
	sess.stream, sess.peer, sess.client = d, p, h.GetClientId()
	sess.credit.fixed = !slices.Contains(d.welcome.GetFeatures(), featureCredit)
	if sess.resumable {
		sess.process = peer.Open(p)
	}
	if exactlyOnce(d.welcome.GetFeatures()) {
		s.transactions.claim(sess)
	}
	if closing, err := s.sessions.enter(sess); err != nil {
		if closing != nil {
			err = s.wills.refuse(d.rpc.Context(), closing, "its process was taken for dead: its will was executed")
		}
		sess.end(err)
		return nil, err
	}
	if s.drain.begun.Load() {
		sess.keepFile(true)
		s.sessions.close(sess, errDraining)
		return nil, errDraining
	}
	s.sessions.state.write(sess)
	a.Counts.Began.Add(flows.Opened, 1)
	s.log.Info("session opened", "app", a.Name, "session", sess.id, "pid", p.PID, "client_version", h.GetClientVersion())
	return sess, nil
}

// detach is called when a stream of a session has ended: the session goes with it, or waits for
// another one.
func (s *streams) detach(d *stream, sess *session, cause error) {
	if n, broken := sess.detach(d, cause); broken {
		s.wills.follow(sess, n)
		return
	}
	if sess.ended() {
		s.sessions.close(sess, cause)
	}
}
