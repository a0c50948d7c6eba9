package sidecar

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	high, ok, err := s.ledger.Resume(h.GetUnreported(), s.credit.unheard())
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
	s.stream, s.peer, s.cold = d, p, nil
	s.beginAgain()
	s.held.Resume()
	s.claims.resume()
	d.woken = false
	s.signal()
	return high, resumed, nil
}

// blank tells that nothing was ever said on this session but Hello.
func (s *session) blank() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.fromFile && s.ledger.Blank() && s.held.Blank()
}

// detach tells whether the session outlives this stream, and how many it has outlived.
func (s *session) detach(d *stream, cause error) (breaks int, outlives bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != d {
		return 0, false // it goes on already
	}
	s.stream = nil
	if s.state.ended() {
		return 0, false
	}
	if !s.resumable || errors.Is(cause, errViolation) || status.Code(cause) == codes.InvalidArgument {
		s.endLocked(errStreamDone)
		return 0, false
	}
	s.happen(eventBreak)
	s.breaks++
	return s.breaks, true
}

// awaitReturn waits until a session whose stream broke waits no more, and tells where it stands
// then. The wait is over at once for a process that is proven dead or has said Goodbye. One that is
// proven to live may have longer than the grace.
func (s *session) awaitReturn(breaks int, grace, living time.Duration) sessionState {
	begun := time.Now()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		dead, over := s.process.ProvenDead(), time.Since(begun) >= grace
		if over && time.Since(begun) < living && s.process.ProvenAlive() {
			over = false
		}
		if state := s.look(breaks, dead, over); !state.waits() {
			return state
		}
		<-look.C
	}
}

// look tells a session that waits what has become of its client's process and of its grace. To who
// helps with an earlier break it says that the session went on.
func (s *session) look(breaks int, dead, over bool) sessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.breaks != breaks:
		return stateAttached
	case dead:
		s.happen(eventDeath)
	case over:
		s.happen(eventGraceOver)
	}
	return s.state
}

// endGrace ends the grace of a broken session: its process cannot come back.
func (s *session) endGrace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.happen(eventHeir)
}

// allFinished is closed when no unit of a closing session is open; before are closed when none is
// of the sessions of its id before it.
func (s *session) allFinished() (_ <-chan struct{}, open int, before []<-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	quiet := make(chan struct{})
	if s.ledger.Open() == 0 || s.state.ended() {
		close(quiet)
	} else {
		s.quiet = quiet
	}
	return quiet, s.ledger.Open(), s.before
}
