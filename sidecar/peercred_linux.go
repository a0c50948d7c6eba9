//go:build linux && !portable

package sidecar

import (
	"net"

	"golang.org/x/sys/unix"
)

const hasPeerCred = true

func peerCred(conn *net.UnixConn) (ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return ucred{}, err
	}
	var cred *unix.Ucred
	var groups []uint32
	if ctlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		groups, _ = peerGroups(fd) // without them the first group decides
	}); ctlErr != nil {
		return ucred{}, ctlErr
	}
	if err != nil {
		return ucred{}, err
	}
	return ucred{pid: cred.Pid, uid: cred.Uid, gid: cred.Gid, groups: groups}, nil
}
