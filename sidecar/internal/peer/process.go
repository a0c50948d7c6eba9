package peer

import (
	"sync"

	"github.com/ackmark/ackmark/internal/sessionfile"
)

// Process tells whether the process at the other end of a unix socket is dead. It is a pidfd:
// unlike a pid it is never another process's. Nil is a process of which nothing is known: one
// behind TCP, in another pid namespace on an old kernel, or on a system without pidfds.
type Process struct {
	told Teller // not nil: who knows instead of a pidfd
	mu   sync.Mutex
	fd   int // -1: closed
}

// Open returns the process that a connection came from.
func Open(p Info) *Process {
	if p.Teller != nil {
		return &Process{told: p.Teller, fd: -1}
	}
	if p.Conn == nil {
		return nil
	}
	fd := openPidfd(p)
	if fd < 0 {
		return nil
	}
	return Watch(fd)
}

// Watch takes a pidfd over.
func Watch(pidfd int) *Process { return &Process{fd: pidfd} }

// Former is the process that a session file of another sidecar names, or nil: it is not known.
func Former(was sessionfile.Process) *Process {
	if was.PID <= 0 {
		return nil
	}
	fd, dead := findPidfd(was)
	switch {
	case dead:
		return &Process{told: ended{}, fd: -1}
	case fd < 0:
		return nil
	}
	return Watch(fd)
}

// ended is a process that has ended.
type ended struct{}

// PeerDead implements Teller.
func (ended) PeerDead() bool { return true }

// ProvenAlive tells whether it is proven that it has not ended.
func (p *Process) ProvenAlive() bool {
	if p == nil || p.told != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fd >= 0 && !pidfdDead(p.fd)
}

// inode tells processes apart, or is 0.
func (p *Process) inode() uint64 {
	if p == nil || p.told != nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return 0
	}
	return pidfdInode(p.fd)
}

// ProvenDead tells whether its end is proven.
func (p *Process) ProvenDead() bool {
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
	return pidfdDead(p.fd)
}

// Close forgets the process: nothing is known of it any more.
func (p *Process) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd >= 0 {
		closePidfd(p.fd)
		p.fd = -1
	}
}
