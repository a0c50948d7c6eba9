//go:build linux && !portable

package peer

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ackmark/ackmark/internal/sessionfile"
)

// ProvesDeaths tells whether this system says who is at the other end of a unix socket, and when
// that process ends.
const ProvesDeaths = true

// openPidfd returns a pidfd of the process at the other end, or -1.
func openPidfd(p Info) int {
	raw, err := p.Conn.SyscallConn()
	if err != nil {
		return -1
	}
	fd := -1
	_ = raw.Control(func(sock uintptr) {
		n, err := unix.GetsockoptInt(int(sock), unix.SOL_SOCKET, unix.SO_PEERPIDFD) // Linux 6.5; sees other pid namespaces too
		if err == nil {
			fd = n
		}
	})
	if fd < 0 && p.PID > 0 {
		// The pid may be another process's by now. Then its death is seen late or never, and the
		// grace decides, as without a pid.
		if n, err := unix.PidfdOpen(int(p.PID), 0); err == nil {
			fd = n
		}
	}
	if fd >= 0 {
		unix.CloseOnExec(fd)
	}
	return fd
}

// findPidfd returns a pidfd of a process that was named by its id, if it is the same one; -1: not
// known.
func findPidfd(was sessionfile.Process) (fd int, dead bool) {
	fd, err := unix.PidfdOpen(int(was.PID), 0)
	if err != nil {
		return -1, errors.Is(err, unix.ESRCH)
	}
	is, there := sessionfile.Find(was.PID)
	switch inode := pidfdInode(fd); {
	case pidfdDead(fd):
	case was.Start == 0 && (was.Inode == 0 || inode == 0): // it had ended when it was written down, or /proc could not be read then
		closePidfd(fd)
		return -1, false
	case was.Start == 0 && inode == was.Inode:
		return fd, false
	case was.Start == 0: // another process has its id
	case there && is.Start == was.Start:
		return fd, false
	case !there: // /proc cannot be read (no descriptor left, hidepid): nothing is known
		closePidfd(fd)
		return -1, false
	}
	closePidfd(fd)
	return -1, true // it, or another one that had its id, has ended; or another one has its id
}

// pidfdDead tells whether the process has ended: then its pidfd is readable.
func pidfdDead(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLIN != 0
}

// pidfdInode is the process's own number, on kernels (6.9) that give it one: it is never used
// again.
func pidfdInode(fd int) uint64 {
	const pidfs = 0x50494446
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != pidfs || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

func closePidfd(fd int) { _ = unix.Close(fd) }
