package sidecar

import "sync"

// process tells whether the process at the other end of a unix socket is dead. It is a pidfd:
// unlike a pid it is never another process's. Nil is a process of which nothing is known: one
// behind TCP, in another pid namespace on an old kernel, or on a system without pidfds.
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
	fd := openPidfd(p)
	if fd < 0 {
		return nil
	}
	return &process{fd: fd}
}

// lives tells whether it is proven that it has not ended.
func (p *process) lives() bool {
	if p == nil || p.told != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fd >= 0 && !pidfdDead(p.fd)
}

// inode tells processes apart, or is 0.
func (p *process) inode() uint64 {
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
	return pidfdDead(p.fd)
}

func (p *process) close() {
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
