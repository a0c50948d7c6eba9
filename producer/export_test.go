package producer

import (
	"net"

	"github.com/ackmark/ackmark/internal/peercred"
	"github.com/ackmark/ackmark/internal/proof/verify/leftover"
)

// WithBootClock returns the configuration with another boot-time clock: the real one does not
// follow a bubble's time.
func (c DialConfig) WithBootClock(now func() uint64) DialConfig {
	c.boot = now
	return c
}

// WithPeer returns the configuration with another word on who listens than the system's.
func (c DialConfig) WithPeer(uid uint32) DialConfig {
	c.peer = func(*net.UnixConn) (peercred.Cred, error) { return peercred.Cred{UID: uid}, nil }
	return c
}

// LeftOver names what a producer holds of its limits, and is empty when everything was given back.
func LeftOver(p Producer) string {
	var left leftover.List
	switch p := p.(type) {
	case *direct:
		if p.budget != nil {
			bytes, records := p.budget.Used()
			left.Check("bytes", bytes)
			left.Check("records", int64(records))
			left.Check("calls that wait", int64(p.budget.Waiting()))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		left.Check("calls", int64(p.active))
		left.Check("units", int64(p.tally.pending))
		p.dirtyMu.Lock()
		defer p.dirtyMu.Unlock()
		left.Check("calls with reports", int64(len(p.dirty)))
	case *client:
		p.mu.Lock()
		defer p.mu.Unlock()
		left.Check("bytes", p.win.taken.bytes)
		left.Check("records", int64(p.win.taken.records))
		left.Check("bytes of the credit", p.win.sent.bytes)
		left.Check("records of the credit", int64(p.win.sent.records))
		left.Check("calls that wait", int64(p.waiters.len()))
		left.Check("Releases without an answer", int64(len(p.releases)))
		left.Check("questions about wills", int64(len(p.heritage.asked)))
		left.Check("fates that nobody was told", int64(len(p.fates)))
		left.Check("who waits for fates to be told", int64(len(p.listening)))
		left.Check("units", int64(p.tally.pending))
		for _, e := range p.win.entries {
			left.Check("units of a call", int64(e.left))
		}
		for _, f := range p.win.frames {
			left.Check("units of a frame", int64(f.left))
		}
		if p.fall.way != nil {
			return left.String() + LeftOver(p.fall.way.direct)
		}
	}
	return left.String()
}
