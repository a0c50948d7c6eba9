package sidecar

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// peerInfo is who is at the other end of a unix socket, as the kernel says. It is zero for other connections.
type peerInfo struct {
	credentials.CommonAuthInfo
	PID         int32
	conn        *net.UnixConn
	process     PeerProcess // or nil
	UID, GID    uint32
	inode       uint64 // of its pidfd, where the kernel gives each process its own; 0: not known
	certificate string // whose TLS certificate it has, "" without one
}

// PeerProcess is implemented by connections of a [Config.Listener] that know whether the process at their other end is dead for certain. Its will is
// executed at once then, not after the grace. Unix sockets need none: the kernel tells.
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

// ServerHandshake refuses users that are not allowed, before a byte of theirs is read.
func (c socketCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	info := peerInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	uc, ok := unwrap(conn).(*net.UnixConn)
	if !ok {
		info.process, _ = unwrap(conn).(PeerProcess)
		return conn, info, nil // a Listener of the user's own
	}
	if !hasPeerCred {
		return conn, info, nil // who may enter the socket's directory may connect
	}
	cred, err := peerCred(uc)
	if err != nil {
		return nil, nil, fmt.Errorf("sidecar: peer credentials: %w", err)
	}
	info.PID, info.UID, info.GID, info.conn = cred.pid, cred.uid, cred.gid, uc
	if c.server.cfg.Listener == nil && !c.server.allowed(cred) {
		c.server.apps.refusals.note(c.server.log, info, "", refusedUser, "it may not connect: add it to AllowUIDs or AllowGIDs")
		return nil, nil, fmt.Errorf("sidecar: uid %d, gid %d may not connect", cred.uid, cred.gid)
	}
	return conn, info, nil
}

// ucred is what the kernel says of the process at the other end. The pid is 0 where it is not told.
type ucred struct {
	pid      int32
	uid, gid uint32
}

func (s *Server) allowed(cred ucred) bool {
	return int(cred.uid) == os.Geteuid() || slices.Contains(s.cfg.AllowUIDs, cred.uid) || slices.Contains(s.cfg.AllowGIDs, cred.gid)
}

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
