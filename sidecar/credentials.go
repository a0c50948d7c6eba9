package sidecar

import (
	"path/filepath"
	"strings"

	"google.golang.org/grpc/credentials"

	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// PeerProcess is implemented by connections of a [Config.Listener] that know whether the process at
// their other end is dead for certain. Its will is executed at once then, not after the grace. Unix
// sockets need none: the kernel tells.
type PeerProcess interface {
	PeerDead() bool
}

// credentials are mutual TLS on TCP; on a unix socket, the kernel's word on who connects.
func (s *Server) credentials() credentials.TransportCredentials {
	if s.cfg.Listener == nil && s.cfg.TLS != nil && !s.isUnix() {
		return credentials.NewTLS(s.cfg.TLS)
	}
	return peer.Credentials(s.cfg.rules(), func(p peer.Info) {
		s.apps.Refusals.Note(p, "", apps.RefusedUser, "it may not connect: add it to AllowUIDs or AllowGIDs")
	})
}

// rules say who may connect to the socket: nil for a Listener, which is its owner's business.
func (c *Config) rules() *peer.Rules {
	if c.Listener != nil {
		return nil
	}
	r := &peer.Rules{UIDs: c.AllowUIDs, GIDs: c.AllowGIDs}
	if path, unix := strings.CutPrefix(c.Listen, "unix://"); unix && c.SocketMode == 0o770 {
		r.Dir = filepath.Dir(path)
	}
	return r
}
