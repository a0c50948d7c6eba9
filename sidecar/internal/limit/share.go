package limit

import "sync"

// Commons is something that many take from, and that one must not take from the others (tracker
// entries, memory that no credit covers, reports). Half of it is divided into equal floors that
// nobody else can take. Of the other half each takes what it needs, but never more than what is
// left of it then: who wants all gets half of that half, and whoever comes later still finds some.
type Commons struct {
	size, floor, extra int64

	mu   sync.Mutex
	lent int64 // of extra
	held int64 // by all
}

// NewCommons divides a size among so many holders.
func NewCommons(size int64, holders int) *Commons {
	half := size / 2
	return &Commons{size: size, floor: half / int64(max(holders, 1)), extra: size - half}
}

// Share is what one holder has of a commons, whose lock guards it.
type Share struct {
	of     *Commons
	held   int64
	closed bool // gave everything back: nothing is taken any more
}

// Share is one holder's, who has nothing of it yet.
func (c *Commons) Share() Share { return Share{of: c} }

// Holders divides the floors among another number of holders, who are all that have a share. What
// they hold by the floors before they keep; all together stay below the size.
func (c *Commons) Holders(holders int, all []*Share) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.floor, c.lent = (c.size-c.extra)/int64(max(holders, 1)), 0
	for _, s := range all {
		c.lent += max(0, s.held-c.floor)
	}
}

// Lent is how much is taken beyond the floors.
func (c *Commons) Lent() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lent
}

// Held is what is taken and not given back.
func (s *Share) Held() int64 {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.held
}

// Take takes n more, or nothing.
func (s *Share) Take(n int64) bool {
	c := s.of
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := max(0, s.held+n-c.floor)
	more := mine - max(0, s.held-c.floor)
	if s.closed || n < 0 || c.held+n > c.size || (more > 0 && mine > c.extra-c.lent-more) {
		return false
	}
	s.held += n
	c.held += n
	c.lent += more
	return true
}

// Give gives back what was taken. After close it does nothing.
func (s *Share) Give(n int64) {
	c := s.of
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return
	}
	c.lent -= max(0, s.held-c.floor) - max(0, s.held-n-c.floor)
	s.held -= n
	c.held -= n
}

// Close gives everything back, once.
func (s *Share) Close() {
	c := s.of
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent -= max(0, s.held-c.floor)
	c.held -= s.held
	s.held, s.closed = 0, true
}
