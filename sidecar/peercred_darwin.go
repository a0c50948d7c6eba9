//go:build darwin && !portable

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
	var cred ucred
	if ctlErr := raw.Control(func(fd uintptr) {
		var x *unix.Xucred
		if x, err = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED); err != nil {
			return
		}
		cred.uid = x.Uid
		if x.Ngroups > 0 {
			cred.gid = x.Groups[0]
		}
		if pid, pidErr := unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID); pidErr == nil {
			cred.pid = int32(pid)
		}
	}); ctlErr != nil {
		return ucred{}, ctlErr
	}
	return cred, err
}
