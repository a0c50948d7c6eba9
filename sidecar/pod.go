package sidecar

import (
	"context"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Pod tells what the sidecar, and the processes at it, are doing: what package admin shows. It
// is Status in another shape, without ids by which a session could be gone on with.
func (s *Server) Pod() *podstate.Pod {
	st, err := s.service.Status(context.Background(), &sidecarpb.StatusRequest{State: true})
	if err != nil { // it checks no topic and no token
		return &podstate.Pod{Time: time.Now(), Sidecar: &podstate.Sidecar{State: err.Error()}}
	}
	for _, sess := range st.GetSessions() {
		sess.SessionId = alias(sess.GetSessionId())
	}
	return podwire.Pod(st)
}
