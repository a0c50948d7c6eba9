package sidecar

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/told"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// session is one app process. It outlives its stream: another one may go on with it (see attach),
// and if none comes its will is executed.
//
// Its stream's receiver and sender work on it, for a moment also the receiver of a stream that
// broke, and kgo's promises end its units. mu is held for a few instructions each time, never
// across a send, a wait or a call to kgo.
type session struct {
	lifetime

	id        string
	app       *apps.App
	client    string // that it is of, as it calls itself; "": not known
	resumable bool   // the client knows how to go on with it, and what SESSION_FENCED means
	credit    grant
	intake    intake
	told      *told.Session // of its state, by its process
	book      book
	claims    *claims // nil: its process commits
	fromFile  bool    // it is of the sidecar before this one, and does not go on: its client begins anew

	mu      sync.Mutex
	state   sessionState
	stream  *stream           // of a state that streams
	breaks  int               // streams that broke
	again   time.Duration     // not 0: it is to begin again on its next stream, within this time
	peer    peer.Info         // of the last stream
	process *peer.Process     // whose session it is, nil: not known
	quiet   chan struct{}     // closed when the session is over and no unit is open
	flying  int               // units that were open when it ended
	before  []<-chan struct{} // of the sessions of this id before it, which its client has replaced
	ledger  ledger.Ledger     // of units
	cold    []*sidecarpb.DeliveryStreamResponse
	held    assigned.Held
	missed  missedInputs
}

// lifetime is how others hear of a session's end.
type lifetime struct {
	ctx    context.Context // ends when the session does, with the reason as its cause
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when it is closed for good, its will executed
	// gone tells that nothing of it may be entered, or go to kgo, any more. The state says so,
	// too, and decides; this is for the sentinel.
	gone atomic.Bool
	// landed is closed when kgo has nothing of a session any more that ended, so that nothing of it
	// is written after that.
	landed chan struct{}
}

func newLifetime() lifetime {
	ctx, cancel := context.WithCancelCause(context.Background())
	return lifetime{ctx: ctx, cancel: cancel, over: make(chan struct{}), landed: make(chan struct{})}
}

// intake is what a session's receiver works with, between its stream and kgo.
type intake struct {
	pinned *limit.Meter                 // received buffers that records still need
	full   atomic.Pointer[topics.Queue] // a queue that one of our records found full: the receiver waits for it
	// backlog is the number of records that the receiver has and kgo has not, as of when it last
	// began to wait.
	backlog atomic.Int32
	// handling is held by the receiver while it works on a message, not while it waits for one. Who
	// holds it after the session ended knows that no more records of it go to kgo.
	handling turn
}

// turn is a lock that may be held while its holder waits for Kafka: a channel, because for tests in
// virtual time who waits for a mutex is at work.
type turn chan struct{}

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

// Causes of a session's end, beside errViolation.
var (
	errReplaced   = errors.New("a newer stream of the same session took over")
	errStreamDone = errors.New("the stream ended")
	errDraining   = errors.New("the sidecar is draining")
	errStopped    = errors.New("the sidecar stopped")
	errFenced     = errors.New("the session was closed")
)

func newSession(id string, a *apps.App, resumable bool, held assigned.Held, log *told.Log) *session {
	s := &session{lifetime: newLifetime(), id: id, app: a, resumable: resumable, ledger: ledger.New(resumable), held: held, told: log.Session(a.Name, alias(id))}
	s.intake.handling, s.intake.pinned = make(turn, 1), limit.NewMeter(0, 0)
	a.Enter()
	return s
}

// end closes the session: nothing of it is produced or reported any more. What kgo has already, it
// finishes.
func (s *session) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(cause)
}

func (s *session) endLocked(cause error) {
	s.cancel(cause)
	if s.state.ended() {
		return
	}
	s.book.end(s.state, cause)
	s.happen(eventEnd)
	s.app.Leave()
	if s.claims == nil { // nothing of a transaction becomes visible but with its offsets
		s.flying = s.ledger.Open()
	}
	s.land(0)
	left := s.ledger.Close()
	s.app.Outstanding.Sub(left.Bytes, left.Records)
	s.held.Close()
	s.claims.end()
	s.told.Close()
	s.process.Close()
}

// streams tells that it has a stream, and a connection that is not known to be over: the end of one
// is told when what came before it is read (see listen.Conn.Read), and who asks about the session
// meanwhile may be its process's successor. mu is held.
func (s *session) streams() bool {
	return s.state.streams() && (s.peer.Line == nil || !s.peer.Line.Gone())
}

func (s *session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.ended()
}

// saidGoodbye tells that the client wants nothing more but its reports.
func (s *session) saidGoodbye() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == stateGoodbye
}

func (s *session) idClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.closed()
}

// settle waits, after end, until the receiver has handed over the record that it was at: nothing of
// this session goes to kgo from then on (S8).
func (s *session) settle() {
	s.intake.handling.Lock()
	s.gone.Store(true)
	s.intake.handling.Unlock()
}

// sayGoodbye is the client's clean end: no will.
func (s *session) sayGoodbye(d *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(d); err != nil {
		return err
	}
	s.happen(eventGoodbye)
	s.book.keep = false
	s.signal()
	return nil
}

// leave makes the stream end once everything received is finished and reported.
func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.happen(eventDrain)
	if !s.state.over() && s.state != stateGoodbye {
		s.book.keep = true // its client goes on with the next sidecar, if it lives that long
	}
	s.signal()
}

// admit checks a decoded frame against the session and enters it: from here on every unit of it is
// reported, or the session has ended.
func (s *session) admit(d *stream, f *frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current(d); err != nil {
		return err
	}
	if s.state.leaves() {
		return errDraining
	}
	late, err := s.ledger.Receive(&f.Message, s.credit.bound())
	if err != nil {
		return fmt.Errorf("%w: %w", errViolation, err)
	}
	s.app.Outstanding.Add(f.Total().Bytes, f.Total().Records)
	f.sink.stillOpen(s, f.Len())
	var last *assigned.Partition
	for i := range f.units {
		u := &f.units[i]
		if late && u.failure == nil {
			u.failure = expiredFailure()
		}
		if u.source {
			if u.of = s.held.Receive(&u.src, f.Cost(i).Bytes, last); u.of == nil {
				u.failure = unknownAssignment(u.src.Epoch)
				continue
			}
			last = u.of
		}
	}
	n, _ := s.held.Missed()
	d.missed = n != s.missed.counted
	return nil
}

// current tells why what came on this stream must not be entered: the session is over, or goes on
// with another stream, to which Welcome has said what was received so far. mu is held.
func (s *session) current(d *stream) error {
	switch {
	case s.state.ended():
		return context.Cause(s.ctx)
	case s.state.over():
		return errFenced
	case s.stream != d:
		return errReplaced
	}
	return nil
}

// goesOn tells why the session does not go on with a stream.
func (s *session) goesOn(d *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current(d)
}

// fail notes the first failure of a unit's outputs.
func (s *session) fail(u *unit, f *sidecarpb.UnitFailure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.failure == nil {
		u.failure = f
	}
}

// finish ends a unit: all its outputs ended. The receiver calls it for units that need no Kafka,
// kgo's promises for the others.
func (s *session) finish(f *frame, i int32) {
	u := &f.units[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.ended() {
		s.land(1)
		return
	}
	if u.failure == nil {
		s.ledger.Ack(&f.Message, i)
	} else {
		s.ledger.Fail(&f.Message, i, u.failure)
	}
	if u.of != nil {
		s.finished(u, u.failure == nil)
	}
	s.settled()
	s.signal()
}

// finishAll ends units that are committed.
func (s *session) finishAll(f *frame, from, to int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.ended() {
		return
	}
	for i := from; i < to; i++ {
		s.ledger.Ack(&f.Message, int32(i))
		if u := &f.units[i]; u.of != nil {
			s.finished(u, true)
		}
	}
	s.settled()
	s.signal()
}

// settled tells the will that nothing is open. mu is held.
func (s *session) settled() {
	if s.ledger.Open() == 0 && s.quiet != nil {
		close(s.quiet)
		s.quiet = nil
	}
}

// drop takes back units that were admitted and are not produced: the stream is ending, the client
// sends them again.
func (s *session) drop(units []unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.ended() {
		s.land(len(units))
		return
	}
	s.ledger.Drop(len(units))
	for i := range units {
		if units[i].of != nil {
			s.finished(&units[i], false)
		}
	}
	s.signal()
}

// land notes that units have ended of a session that has. mu is held.
func (s *session) land(units int) {
	if s.flying -= units; s.flying == 0 && !closed(s.landed) {
		close(s.landed)
	}
}

// happen takes an event. mu is held.
func (s *session) happen(e sessionEvent) { s.state = s.state.after(e) }
