//go:build linux && !portable

package peercred

import (
	"net"

	"golang.org/x/sys/unix"
)

// Known says that this system tells who is at the other end of a unix socket.
const Known = true

// Of is who is at the other end.
func Of(conn *net.UnixConn) (Cred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Cred{}, err
	}
	var cred *unix.Ucred
	var groups []uint32
	if ctlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		groups, _ = peerGroups(fd) // without them the first group decides
	}); ctlErr != nil {
		return Cred{}, ctlErr
	}
	if err != nil {
		return Cred{}, err
	}
	return Cred{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid, Groups: groups}, nil
}
