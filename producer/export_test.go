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
		left.Check("units", int64(p.tally.Pending()))
		p.dirtyMu.Lock()
		defer p.dirtyMu.Unlock()
		left.Check("calls with reports", int64(len(p.dirty)))
	case *client:
		p.mu.Lock()
		defer p.mu.Unlock()
		taken, sent := p.books.queue.Taken(), p.books.queue.Sent()
		left.Check("bytes", taken.Bytes)
		left.Check("records", int64(taken.Records))
		left.Check("bytes of the credit", sent.Bytes)
		left.Check("records of the credit", int64(sent.Records))
		left.Check("calls that wait", int64(p.books.line.waiters.Len()))
		left.Check("Releases without an answer", int64(len(p.releases.open)))
		left.Check("questions about wills", int64(len(p.inherits.open)))
		left.Check("fates that nobody was told", int64(len(p.reports.fates)))
		left.Check("who waits for fates to be told", int64(len(p.reports.listening)))
		left.Check("units", int64(p.reports.tally.Pending()))
		if p.fall.detour != nil {
			return left.String() + LeftOver(p.fall.detour.direct)
		}
	}
	return left.String()
}
