package sidecar

import (
	"sync"

	"golang.org/x/sys/unix"
)

// process tells whether the process at the other end of a unix socket is dead. It is a pidfd: unlike a pid it is never another process's. Nil is a process
// of which nothing is known: one behind TCP, in another pid namespace on an old kernel, or on a system without pidfds.
type process struct {
	told PeerProcess // not nil: who knows instead of a pidfd
	mu   sync.Mutex
	fd   int // -1: closed
}

// openProcess returns the process that a connection came from.
func openProcess(p peerInfo) *process {
	if p.process != nil {
		return &process{told: p.process, fd: -1}
	}
	if p.conn == nil {
		return nil
	}
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return nil
	}
	fd := -1
	_ = raw.Control(func(sock uintptr) {
		n, err := unix.GetsockoptInt(int(sock), unix.SOL_SOCKET, unix.SO_PEERPIDFD) // Linux 6.5; sees other pid namespaces too
		if err == nil {
			fd = n
		}
	})
	if fd < 0 && p.PID > 0 {
		// The pid may be another process's by now. Then its death is seen late or never, and the grace decides, as without a pid.
		if n, err := unix.PidfdOpen(int(p.PID), 0); err == nil {
			fd = n
		}
	}
	if fd < 0 {
		return nil
	}
	unix.CloseOnExec(fd)
	return &process{fd: fd}
}

// dead tells whether its end is proven.
func (p *process) dead() bool {
	if p == nil {
		return false
	}
	if p.told != nil {
		return p.told.PeerDead()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLIN != 0
}

func (p *process) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd >= 0 {
		_ = unix.Close(p.fd)
		p.fd = -1
	}
}
