package sidecar

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureResume is the ability to go on with a session on another stream.
const featureResume = "resume"

// features that this sidecar has, beside those of version 1.
var features = []string{featureResume, featureInherit}

func (s *Server) welcome(h *sidecarpb.Hello, w window) *sidecarpb.Welcome {
	both := slices.DeleteFunc(slices.Clone(features), func(f string) bool { return !slices.Contains(h.GetFeatures(), f) })
	return &sidecarpb.Welcome{
		Version: ProtocolVersion, Features: both, SidecarId: s.id, ServerVersion: s.cfg.Version, MaxMessageBytes: uint32(s.cfg.MaxMessageBytes),
		Credit: &sidecarpb.Credit{Bytes: uint64(w.bytes), Records: uint64(w.records)}, ClusterId: s.kafka.clusterID(),
	}
}

// fencedStatus tells a client that its session is over for good.
func fencedStatus(why string) error {
	return status.Error(codes.Aborted, wire.CodeSessionFenced+": "+why)
}

// join begins a session, or goes on with one.
func (s *Server) join(d *delivery, h *sidecarpb.Hello, a *app) (*session, error) {
	p := peer.Of(d.stream.Context())
	s.kafka.await(d.stream.Context())
	d.welcome = s.welcome(h, window{})
	sess, err := s.resume(d, p, h, a)
	if sess == nil && err == nil {
		sess, err = s.open(d, p, h, a)
	}
	if err != nil {
		return nil, err
	}
	d.welcome.Credit = &sidecarpb.Credit{Bytes: uint64(sess.window.bytes), Records: uint64(sess.window.records)}
	return sess, nil
}

// resume goes on with a session that is here, or tells that it is over, or returns nil: a session
// begins.
func (s *Server) resume(d *delivery, p peer.Info, h *sidecarpb.Hello, a *app) (*session, error) {
	s.mu.Lock()
	old, over := s.sessions[h.GetSessionId()], s.closed.holds(h.GetSessionId())
	s.mu.Unlock()
	switch {
	case over:
		s.wills.fenced.Add(1)
		return nil, fencedStatus("its process was taken for dead: its will was executed, and its partitions have left it")
	case old != nil && !old.isOf(a, h.GetClientId(), p):
		s.wills.fenced.Add(1)
		s.apps.refusals.note(s.log, p, a.Name, refusedSession, "another process or client has this session")
		if old.app == a && old.givesWayTo(p) && !old.process.Lives() {
			old.hurry()
		}
		return nil, fencedStatus("another process has this session, or died with it, or another client of this one: choose a unique id")
	case old == nil || !old.resumable || !slices.Contains(h.GetFeatures(), featureResume) || old.blank():
		return nil, nil
	case h.GetPreviousSidecarId() == "": // another process has this name, or had it
		s.wills.fenced.Add(1)
		old.hurry()
		return nil, fencedStatus("another process has this session, or died with it: choose a unique id")
	case h.GetPreviousSidecarId() != s.id:
		return nil, nil
	}
	if s.draining.Load() {
		return nil, errDraining
	}
	high, how, err := old.attach(d, p, h)
	switch {
	case err != nil:
		return nil, err
	case how == overAlready:
		return nil, s.refuse(d.stream.Context(), old, "its process was taken for dead: its will was executed, and its partitions have left it")
	case how == unresumed:
		return nil, nil
	}
	d.welcome.Resumed, d.welcome.HighestSequence = true, high
	s.wills.resumed.Add(1)
	s.log.Info("session goes on with another stream", "app", a.Name, "session", old.id, "pid", p.PID, "received", high)
	return old, nil
}

// open begins a session. One of the same id is ended first, and has handed its last record to kgo
// before open returns, so that what is sent again cannot be overtaken by it (S7). The new session
// is "handling" until then: a third stream, which replaces it meanwhile, waits for it and with it
// for the first.
func (s *Server) open(d *delivery, p peer.Info, h *sidecarpb.Hello, a *app) (*session, error) {
	sess := newSession(s, h.GetSessionId(), a, slices.Contains(h.GetFeatures(), featureResume))
	sess.stream, sess.peer, sess.client = d, p, h.GetClientId()
	if sess.resumable {
		sess.process = peer.Open(p)
	}
	if err := s.enterSession(sess); err != nil {
		sess.end(err)
		return nil, err
	}
	if s.draining.Load() {
		s.close(sess, errDraining)
		return nil, errDraining
	}
	s.log.Info("session opened", "app", a.Name, "session", sess.id, "pid", p.PID, "client_version", h.GetClientVersion())
	return sess, nil
}

func (s *Server) enterSession(sess *session) error {
	sess.intake.handling.Lock()
	defer sess.intake.handling.Unlock()
	s.mu.Lock()
	old := s.sessions[sess.id]
	if old != nil && !old.isOf(sess.app, sess.client, sess.peer) {
		s.mu.Unlock()
		return fencedStatus("another process has this session, or another client of this one: choose a unique id")
	}
	if old != nil && old.isClosed() {
		s.mu.Unlock()
		return s.refuse(sess.stream.stream.Context(), old, "its process was taken for dead: its will was executed")
	}
	if old == nil && !s.mayOpen(sess.app) {
		s.mu.Unlock()
		return limit.FullStatus("%d sessions may be open, one of them for each app of the list that has none: raise the sidecar's MaxSessions (limits.sessions)", limit.UntilRead, s.cfg.MaxSessions)
	}
	if old != nil {
		s.giveBack(old.window)
	}
	sess.setWindow(s.grant())
	s.sessions[sess.id] = sess
	s.mu.Unlock()
	if old != nil {
		old.end(errReplaced)
		old.settle()
		s.log.Info("session taken over by a newer stream", "app", old.app.Name, "session", old.id)
	}
	return nil
}

// detach is called when a stream of a session has ended: the session goes with it, or waits for
// another one.
func (s *Server) detach(d *delivery, sess *session, cause error) {
	if n, broken := sess.detach(d, cause); broken {
		s.outliving.Go(func() { s.outlive(sess, n) })
		return
	}
	if sess.ended() {
		s.close(sess, cause)
	}
}

// detach tells whether the session outlives this stream, and how many it has outlived.
func (s *session) detach(d *delivery, cause error) (breaks int, outlives bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != d {
		return 0, false // it goes on already
	}
	s.stream = nil
	if s.state.ended() {
		return 0, false
	}
	if !s.resumable || errors.Is(cause, errViolation) || status.Code(cause) == codes.InvalidArgument {
		s.endLocked(errStreamDone)
		return 0, false
	}
	s.happen(eventBreak)
	s.breaks++
	return s.breaks, true
}

// close ends a session and forgets it, if it was not replaced. It is forgotten only when it has
// handed its last record to kgo: the stream that comes next finds either it, and waits in
// enterSession, or nothing that could still produce (S7, S8).
func (s *Server) close(sess *session, cause error) {
	sess.end(errStreamDone)
	sess.settle()
	unknown := sess.refused()
	if errors.Is(cause, errStreamDone) || cause == nil {
		cause = context.Cause(sess.ctx)
	}
	s.log.Info("session ended", "app", sess.app.Name, "session", sess.id, "pid", sess.peer.PID, "cause", cause, "unknown_assignments", unknown)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[sess.id] == sess {
		s.giveBack(sess.window)
		delete(s.sessions, sess.id)
	}
	s.signalIdle()
}
