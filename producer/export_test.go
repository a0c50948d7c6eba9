package producer

import (
	"net"

	"github.com/ackmark/ackmark/internal/peercred"
)

// WithBootClock returns the configuration with another boot-time clock: the real one does not follow a bubble's time.
func (c DialConfig) WithBootClock(now func() uint64) DialConfig {
	c.boot = now
	return c
}

// WithPeer returns the configuration with another word on who listens than the system's.
func (c DialConfig) WithPeer(uid uint32) DialConfig {
	c.peer = func(*net.UnixConn) (peercred.Cred, error) { return peercred.Cred{UID: uid}, nil }
	return c
}
