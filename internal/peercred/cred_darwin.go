//go:build darwin && !portable

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
	var cred Cred
	if ctlErr := raw.Control(func(fd uintptr) {
		var x *unix.Xucred
		if x, err = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED); err != nil {
			return
		}
		cred.UID = x.Uid
		if x.Ngroups > 0 {
			cred.GID = x.Groups[0]
		}
		if pid, pidErr := unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID); pidErr == nil {
			cred.PID = int32(pid)
		}
	}); ctlErr != nil {
		return Cred{}, ctlErr
	}
	return cred, err
}
