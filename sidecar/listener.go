package sidecar

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/credentials"

	"github.com/ackmark/ackmark/sidecar/internal/listen"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
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

func (c *Config) isUnix() bool { return strings.HasPrefix(c.Listen, "unix://") }

// listen opens the listener, with its limit of connections.
func (c *Config) listen() (*listen.Limited, error) {
	lis, err := c.openListener()
	if err != nil {
		return nil, err
	}
	return listen.Limit(lis, c.MaxConnections, func(refused uint64) {
		c.Logger.Warn("refused a connection: the limit is reached; raise MaxConnections", "refused", refused)
	}), nil
}

func (c *Config) openListener() (net.Listener, error) {
	switch {
	case c.Listener != nil:
		return c.Listener, nil
	case c.isUnix():
		lis, err := listen.Unix(strings.TrimPrefix(c.Listen, "unix://"), c.SocketMode)
		if e, ok := errors.AsType[*listen.Error](err); ok {
			return nil, (*SocketError)(e)
		}
		return lis, err
	}
	lis, err := net.Listen("tcp", strings.TrimPrefix(c.Listen, "tcp://"))
	if err != nil {
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	return lis, nil
}

// PeerProcess is implemented by connections of a [Config.Listener] that know whether the process at
// their other end is dead for certain. Its will is executed at once then, not after the grace. Unix
// sockets need none: the kernel tells.
type PeerProcess interface {
	PeerDead() bool
}

// credentials are mutual TLS on TCP; on a unix socket, the kernel's word on who connects. Refused
// tells of those who may not.
func (c *Config) credentials(rules *peer.Rules, refused func(peer.Info)) credentials.TransportCredentials {
	if c.Listener == nil && c.TLS != nil && !c.isUnix() {
		return credentials.NewTLS(c.TLS)
	}
	return peer.Credentials(rules, refused)
}

// rules say who may connect to the socket: nil for a Listener, which is its owner's business.
func (c *Config) rules() *peer.Rules {
	if c.Listener != nil {
		return nil
	}
	dir := ""
	if path, unix := strings.CutPrefix(c.Listen, "unix://"); unix && c.SocketMode == 0o770 {
		dir = filepath.Dir(path)
	}
	return peer.NewRules(c.AllowUIDs, c.AllowGIDs, dir)
}
