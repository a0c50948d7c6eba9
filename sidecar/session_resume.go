package sidecar

import (
	"fmt"

	"github.com/ackmark/ackmark/sidecar/internal/gate"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// expire fails a unit that was not begun in time, and with it all that comes behind it.
func (s *session) expire(u *unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.failure = expiredFailure()
	s.ledger.Late(true)
}

// lapse tells whether a unit whose records came back from Kafka must not be sent again: its time is
// over, or that of another one that the client may be sending another way by now.
func (s *session) lapse(expires gate.Expiry) bool {
	if expires.At == 0 {
		return false
	}
	over := expires.Passed()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Late(over)
}

// resumption is the outcome of a Hello that wants to go on with a session.
type resumption int

const (
	resumed     resumption = iota
	unresumed              // it is alive, and cannot be gone on with: what was reported and not heard is not known any more
	overAlready            // its will has begun
)

// attach makes the session go on with another stream. What was reported on a stream that broke, and
// not heard, is reported again: once for each sequence (S12). Nothing of the broken stream is
// entered from here on (S7): the sequence returned is the last that was.
func (s *session) attach(d *stream, p peer.Info, h *sidecarpb.Hello) (high uint64, how resumption, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state.over():
		return 0, overAlready, nil
	case !s.state.returns(): // the drain began while its Hello was read
		return 0, unresumed, errDraining
	}
	high, ok, err := s.ledger.Resume(h.GetUnreported(), s.credit.records)
	if err != nil {
		return 0, unresumed, fmt.Errorf("%w: %w", errViolation, err)
	}
	if !ok {
		return 0, unresumed, nil
	}
	if s.state.streams() {
		close(s.stream.replaced)
	}
	s.happen(eventReturn)
	s.stream, s.peer, s.cold, s.stock.unanswered = d, p, nil, 0
	for _, e := range s.epochs {
		e.releases = nil // the client says them again
	}
	d.woken = false
	s.signal()
	return high, resumed, nil
}

// blank tells that nothing was ever said on this session but Hello.
func (s *session) blank() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.Blank() && len(s.members) == 0 && len(s.epochs) == 0
}
