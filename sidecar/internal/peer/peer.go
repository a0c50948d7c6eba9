package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/ackmark/ackmark/internal/peercred"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/listen"
)

// Info is who is at the other end of a unix socket, as the kernel says. It is zero for other
// connections.
type Info struct {
	credentials.CommonAuthInfo
	PID         int32
	Conn        *net.UnixConn
	Line        *listen.Conn // or nil
	Teller      Teller       // or nil
	UID, GID    uint32
	Inode       uint64 // of its pidfd, where the kernel gives each process its own; 0: not known
	Refused     string // why it may not connect, "" if it may
	rules       *Rules // that it is held against; nil: none
	cred        *peercred.Cred
	judged      *allowed // by whom Refused was decided
	Certificate string   // whose TLS certificate it has, "" without one
	issued      string   // the same as it was kept before
	Former      bool     // it is told by a session file: there is no connection any more
}

// Teller is a connection that knows whether the process at its other end is dead for certain.
type Teller interface {
	PeerDead() bool
}

// AuthType implements credentials.AuthInfo.
func (Info) AuthType() string { return "peercred" }

// Of is who makes a call.
func Of(ctx context.Context) Info {
	if p, ok := peer.FromContext(ctx); ok {
		switch info := p.AuthInfo.(type) {
		case Info:
			return info
		case credentials.TLSInfo:
			named, issued := certificateOf(info)
			return Info{Certificate: named, issued: issued}
		}
	}
	return Info{}
}

type socketCredentials struct {
	rules   *Rules
	refused func(Info)
}

// Credentials finds out who connects to a unix socket, as the kernel says. Those whom the rules
// do not allow are told of by refused; without rules everybody may connect.
func Credentials(r *Rules, refused func(Info)) credentials.TransportCredentials {
	return socketCredentials{r, refused}
}

// ServerHandshake finds out who connects. The calls of users that are not allowed are refused
// before a message of theirs is read, see calls.Table.Tap.
func (c socketCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	info := Info{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	info.Line, _ = conn.(*listen.Conn)
	uc, ok := listen.Unwrap(conn).(*net.UnixConn)
	if !ok {
		info.Teller, _ = listen.Unwrap(conn).(Teller)
		return conn, info, nil // a Listener of the user's own
	}
	if !peercred.Known {
		return conn, info, nil // who may enter the socket's directory may connect
	}
	cred, err := peercred.Of(uc)
	if err != nil {
		return nil, nil, fmt.Errorf("sidecar: peer credentials: %w", err)
	}
	info.PID, info.UID, info.GID, info.Conn = cred.PID, cred.UID, cred.GID, uc
	info.rules, info.cred = c.rules, &cred
	proc := Open(info)
	info.Inode = proc.inode()
	proc.Close()
	if c.rules != nil {
		info.judged = c.rules.allowed.Load()
		info.Refused = info.judge()
	}
	if info.Refused != "" {
		c.refused(info)
		// It is told why by every call, and then cut off: a connection that only breaks says
		// nothing.
		time.AfterFunc(refusedConn, func() { _ = conn.Close() })
	}
	return conn, info, nil
}

// WhyRefused tells why it may not connect, by the rules of now, or "".
func (i Info) WhyRefused() string {
	if i.rules == nil || i.rules.allowed.Load() == i.judged {
		return i.Refused
	}
	return i.judge()
}

func (i Info) judge() string {
	if i.rules.allow(i.cred) {
		return ""
	}
	return fmt.Sprintf("%s: uid %d, gid %d may not connect: add it to the sidecar's AllowUIDs or AllowGIDs", wire.CodeUnauthorized, i.UID, i.GID)
}

// Rules say who may connect to a unix socket, beside this process's own user.
type Rules struct {
	dir     string
	allowed atomic.Pointer[allowed]
}

type allowed struct{ uids, gids []uint32 }

// NewRules allow these users and groups, and the group of a directory, if it is not empty.
func NewRules(uids, gids []uint32, dir string) *Rules {
	r := &Rules{dir: dir}
	r.Replace(uids, gids)
	return r
}

// Replace allows other users and groups. Those of a connection that is open are asked again with
// its next call.
func (r *Rules) Replace(uids, gids []uint32) { r.allowed.Store(&allowed{uids, gids}) }

func (r *Rules) allow(cred *peercred.Cred) bool {
	if int(cred.UID) == os.Geteuid() {
		return true
	}
	a := r.allowed.Load()
	return slices.Contains(a.uids, cred.UID) || r.allowGroup(a.gids, cred)
}

// allowGroup tells whether one of the peer's groups may connect.
func (r *Rules) allowGroup(gids []uint32, cred *peercred.Cred) bool {
	if r.dir != "" {
		if gid, ok := listen.GroupOf(r.dir); ok {
			gids = append(slices.Clone(gids), gid)
		}
	}
	return slices.Contains(gids, cred.GID) || slices.ContainsFunc(cred.Groups, func(g uint32) bool { return slices.Contains(gids, g) })
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

// OverWire tells whether a call came from a peer, not from this process through Server's methods.
func OverWire(ctx context.Context) bool {
	_, ok := peer.FromContext(ctx)
	return ok
}
