package sidecar

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/ackmark/ackmark/sidecar/internal/listen"
)

// SocketError tells why the unix socket cannot be listened on, and what to do.
type SocketError struct {
	Path, Reason string
	Err          error // nil if the reason is ours
}

// Error implements error.
func (e *SocketError) Error() string { return "sidecar: " + (*listen.Error)(e).Error() }

// Unwrap returns the cause.
func (e *SocketError) Unwrap() error { return e.Err }

func (s *Server) isUnix() bool { return strings.HasPrefix(s.cfg.Listen, "unix://") }

// listen opens the listener, with its limit of connections.
func (s *Server) listen() (net.Listener, error) {
	lis, err := s.openListener()
	if err != nil {
		return nil, err
	}
	return listen.Limit(lis, s.cfg.MaxConnections, func() {
		s.log.Warn("refused a connection: the limit is reached; raise MaxConnections", "limit", s.cfg.MaxConnections)
	}), nil
}

func (s *Server) openListener() (net.Listener, error) {
	switch {
	case s.cfg.Listener != nil:
		return s.cfg.Listener, nil
	case s.isUnix():
		lis, err := listen.Unix(strings.TrimPrefix(s.cfg.Listen, "unix://"), s.cfg.SocketMode)
		if e, ok := errors.AsType[*listen.Error](err); ok {
			return nil, (*SocketError)(e)
		}
		return lis, err
	}
	lis, err := net.Listen("tcp", strings.TrimPrefix(s.cfg.Listen, "tcp://"))
	if err != nil {
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	return lis, nil
}
