package sidecar

import (
	"cmp"
	"sync"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// commons is something that many take from, and that one must not take from the others (tracker
// entries, memory that no credit covers, reports). Half of it is divided into equal floors that
// nobody else can take. Of the other half each takes what it needs, but never more than what is
// left of it then: who wants all gets half of that half, and whoever comes later still finds some.
type commons struct {
	floor, extra int64

	mu   sync.Mutex
	lent int64 // of extra
}

func newCommons(size int64, holders int) *commons {
	half := size / 2
	return &commons{floor: half / int64(max(holders, 1)), extra: size - half}
}

// share is what one holder has of a commons, whose lock guards it.
type share struct {
	of     *commons
	held   int64
	closed bool // gave everything back: nothing is taken any more
}

// take takes n more, or nothing.
func (s *share) take(n int64) bool {
	c := s.of
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := max(0, s.held+n-c.floor)
	more := mine - max(0, s.held-c.floor)
	if s.closed || n < 0 || (more > 0 && mine > c.extra-c.lent-more) {
		return false
	}
	s.held += n
	c.lent += more
	return true
}

// give gives back what was taken. After close it does nothing.
func (s *share) give(n int64) {
	c := s.of
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return
	}
	c.lent -= max(0, s.held-c.floor) - max(0, s.held-n-c.floor)
	s.held -= n
}

// close gives everything back, once.
func (s *share) close() {
	c := s.of
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent -= max(0, s.held-c.floor)
	s.held, s.closed = 0, true
}

// commonStock is what sessions share beside the memory of records.
type commonStock struct {
	entries *commons // of trackers; one takes about 17 bytes
	kept    *commons // bytes of what a session says that costs no credit: stays, done-sets, names
	reports *commons // reports of queued emits, finished or not
}

func newCommonStock(c *Config) commonStock {
	return commonStock{
		entries: newCommons(int64(c.MaxRecords)*trackedPerRecord, c.MaxSessions),
		kept:    newCommons(c.MaxBytes, c.MaxSessions),
		reports: newCommons(int64(max(c.MaxRecords/4, 4*c.ReportRing)), cmp.Or(len(c.Apps), maxApps)),
	}
}

// holdings is what one session has of it. session.mu guards the counters.
type holdings struct {
	entries, kept share
	unanswered    int    // Releases whose answer is not sent
	refused       uint64 // units that came for assignments that the session did not hold
}

func (c *commonStock) holdings() holdings {
	return holdings{entries: share{of: c.entries}, kept: share{of: c.kept}}
}

func (h *holdings) close() {
	h.entries.close()
	h.kept.close()
}

// answered counts the Releases whose answer is being sent.
func (h *holdings) answered(sent []*sidecarpb.DeliveryStreamResponse) {
	for _, m := range sent {
		if m.GetReleased() != nil {
			h.unanswered--
		}
	}
}
