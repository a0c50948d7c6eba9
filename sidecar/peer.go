package sidecar

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/ackmark/ackmark/internal/peercred"
	"github.com/ackmark/ackmark/internal/wire"
)

// peerInfo is who is at the other end of a unix socket, as the kernel says. It is zero for other
// connections.
type peerInfo struct {
	credentials.CommonAuthInfo
	PID         int32
	conn        *net.UnixConn
	line        *limitConn  // or nil
	process     PeerProcess // or nil
	UID, GID    uint32
	inode       uint64 // of its pidfd, where the kernel gives each process its own; 0: not known
	refused     string // why it may not connect, "" if it may
	certificate string // whose TLS certificate it has, "" without one
}

// PeerProcess is implemented by connections of a [Config.Listener] that know whether the process at
// their other end is dead for certain. Its will is executed at once then, not after the grace. Unix
// sockets need none: the kernel tells.
type PeerProcess interface {
	PeerDead() bool
}

// AuthType implements credentials.AuthInfo.
func (peerInfo) AuthType() string { return "peercred" }

func peerOf(ctx context.Context) peerInfo {
	if p, ok := peer.FromContext(ctx); ok {
		switch info := p.AuthInfo.(type) {
		case peerInfo:
			return info
		case credentials.TLSInfo:
			return peerInfo{certificate: certificateOf(info)}
		}
	}
	return peerInfo{}
}

// credentials are mutual TLS on TCP; on a unix socket, the kernel's word on who connects.
func (s *Server) credentials() credentials.TransportCredentials {
	if s.cfg.Listener == nil && s.cfg.TLS != nil && !s.isUnix() {
		return credentials.NewTLS(s.cfg.TLS)
	}
	return socketCredentials{s}
}

type socketCredentials struct{ server *Server }

// ServerHandshake finds out who connects. The calls of users that are not allowed are refused
// before a message of theirs is read, see tap.
func (c socketCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	info := peerInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	info.line, _ = conn.(*limitConn)
	uc, ok := unwrap(conn).(*net.UnixConn)
	if !ok {
		info.process, _ = unwrap(conn).(PeerProcess)
		return conn, info, nil // a Listener of the user's own
	}
	if !peercred.Known {
		return conn, info, nil // who may enter the socket's directory may connect
	}
	cred, err := peercred.Of(uc)
	if err != nil {
		return nil, nil, fmt.Errorf("sidecar: peer credentials: %w", err)
	}
	info.PID, info.UID, info.GID, info.conn = cred.PID, cred.UID, cred.GID, uc
	proc := openProcess(info)
	info.inode = proc.inode()
	proc.close()
	if c.server.cfg.Listener == nil && !c.server.allowed(cred) {
		c.server.apps.refusals.note(c.server.log, info, "", refusedUser, "it may not connect: add it to AllowUIDs or AllowGIDs")
		// It is told why by every call, and then cut off: a connection that only breaks says
		// nothing.
		info.refused = fmt.Sprintf("%s: uid %d, gid %d may not connect: add it to the sidecar's AllowUIDs or AllowGIDs", wire.CodeUnauthorized, cred.UID, cred.GID)
		time.AfterFunc(refusedConn, func() { _ = conn.Close() })
	}
	return conn, info, nil
}

func (s *Server) allowed(cred peercred.Cred) bool {
	return int(cred.UID) == os.Geteuid() || slices.Contains(s.cfg.AllowUIDs, cred.UID) || s.allowedGroup(cred)
}

// allowedGroup tells whether one of the peer's groups is in AllowGIDs or, with mode 0770, is that
// of the socket's directory.
func (s *Server) allowedGroup(cred peercred.Cred) bool {
	gids := s.cfg.AllowGIDs
	if s.isUnix() && s.cfg.SocketMode == 0o770 {
		if gid, ok := groupOf(filepath.Dir(strings.TrimPrefix(s.cfg.Listen, "unix://"))); ok {
			gids = append(slices.Clone(gids), gid)
		}
	}
	return slices.Contains(gids, cred.GID) || slices.ContainsFunc(cred.Groups, func(g uint32) bool { return slices.Contains(gids, g) })
}

// groupOf is the group of a file.
func groupOf(path string) (uint32, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	_, gid, ok := peercred.Owner(info)
	return gid, ok
}

// refusedConn is how long one who may not connect has to hear why.
const refusedConn = time.Second

// ClientHandshake implements credentials.TransportCredentials; the sidecar is no client.
func (socketCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, fmt.Errorf("sidecar: server credentials used by a client")
}

// Info implements credentials.TransportCredentials.
func (socketCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

// Clone implements credentials.TransportCredentials.
func (c socketCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (socketCredentials) OverrideServerName(string) error { return nil }
