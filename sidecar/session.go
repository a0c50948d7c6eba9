package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// session is one app process on one stream. In this version it ends with its stream.
//
// Two goroutines work on it, the stream's receiver and its sender, and kgo's promises end its units. mu is held for a few instructions
// each time, never across a send, a wait or a call to kgo.
type session struct {
	server *Server
	id     string
	app    *app
	peer   peerInfo
	ctx    context.Context // ends when the session does, with the reason as its cause
	cancel context.CancelCauseFunc

	window window
	pinned *meter                // received buffers that records still need
	full   atomic.Pointer[queue] // a queue that one of our records found full: the receiver waits for it
	// backlog is the number of records that the receiver has and kgo has not, as of when it last began to wait.
	backlog atomic.Int32

	// handling is held by the receiver while it works on a message, not while it waits for one. Who holds it after the session ended knows that
	// no more records of it go to kgo.
	handling sync.Mutex

	mu                 sync.Mutex
	dead               bool
	leaving            bool   // Goodbye or draining: the stream ends when nothing is open
	next               uint64 // next sequence number; 0: any
	outUnits           int64  // received and not reported: what of the credit is used
	outBytes           int64
	outRecords         int64
	open               int      // units received and not finished
	dirty              []*frame // with acked units that are not reported
	failed             []failedUnit
	cold               []*sidecarpb.DeliveryStreamResponse
	wake               chan struct{} // capacity 1
	woken              bool
	epochs             map[uint64]*epoch
	group              string
	member             string
	generation         int32
	unknownAssignments uint64
}

type failedUnit struct {
	frame *frame
	unit  int32
}

// Causes of a session's end, beside errViolation.
var (
	errReplaced   = errors.New("a newer stream of the same session took over")
	errStreamDone = errors.New("the stream ended")
	errDraining   = errors.New("the sidecar is draining")
)

func newSession(srv *Server, id string, a *app, peer peerInfo, parent context.Context) *session {
	s := &session{server: srv, id: id, app: a, peer: peer, wake: make(chan struct{}, 1), epochs: make(map[uint64]*epoch)}
	s.setWindow(srv.cfg.floor())
	s.ctx, s.cancel = context.WithCancelCause(parent)
	return s
}

// setWindow sets the credit, before the session is used.
func (s *session) setWindow(w window) {
	s.window = w
	// The whole of a window may be pinned twice: once by what is on its way, once by frames of which one slow record is left.
	s.pinned = newMeter(2*w.bytes, 2*w.records)
}

// end closes the session: nothing of it is produced or reported any more. What kgo has already, it finishes.
func (s *session) end(cause error) {
	s.cancel(cause)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return
	}
	s.dead = true
	s.app.meter.sub(s.outBytes, s.outRecords)
	for _, e := range s.epochs {
		s.server.tracked.sub(0, int64(e.capacity))
	}
	s.epochs, s.dirty, s.failed = nil, nil, nil
}

// settle waits, after end, until the receiver has handed over the record that it was at: nothing of this session goes to kgo from then on (S8).
func (s *session) settle() {
	s.handling.Lock()
	s.handling.Unlock() //nolint:staticcheck // empty on purpose: only the wait matters
}

// leave makes the stream end once everything received is finished and reported.
func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	s.signal()
}

// admit checks a decoded frame against the session and enters it: from here on every unit of it is reported, or the session has ended.
func (s *session) admit(f *frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return context.Cause(s.ctx)
	}
	if s.leaving {
		return errDraining
	}
	n := uint64(len(f.units))
	if f.first == 0 || f.first+n < f.first || (s.next != 0 && f.first != s.next) {
		return fmt.Errorf("%w: units %d to %d, expected %d: sequence numbers start at 1 and have no gaps", errViolation, f.first, f.first+n-1, s.next)
	}
	var bytes, records int64
	for i := range f.units {
		bytes += f.units[i].size
		records += f.units[i].records()
	}
	if err := s.checkCredit(int64(n), bytes, records); err != nil {
		return err
	}
	s.next = f.first + n
	s.outUnits += int64(n)
	s.outBytes += bytes
	s.outRecords += records
	s.open += int(n)
	s.app.meter.add(bytes, records)
	var last *epoch
	for i := range f.units {
		if u := &f.units[i]; u.source {
			e, refused := s.source(u, last)
			if u.epoch = e; refused != nil {
				u.failure = refused
				continue
			}
			last = e
		}
	}
	return nil
}

func (s *session) checkCredit(units, bytes, records int64) error {
	alone := units == 1 && s.outUnits == 0
	limitBytes, limitRecords := s.window.bytes, int64(s.window.records)
	if alone || (s.outBytes+bytes <= limitBytes && s.outRecords+records <= limitRecords) {
		return nil
	}
	return fmt.Errorf("%w: credit exceeded: %d bytes and %d records outstanding, %d and %d more sent, the credit is %d and %d",
		errViolation, s.outBytes, s.outRecords, bytes, records, limitBytes, limitRecords)
}

// fail notes the first failure of a unit's outputs.
func (s *session) fail(u *unit, f *sidecarpb.UnitFailure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.failure == nil {
		u.failure = f
	}
}

// finish ends a unit: all its outputs ended. The receiver calls it for units that need no Kafka, kgo's promises for the others.
func (s *session) finish(f *frame, i int32) {
	u := &f.units[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return
	}
	s.open--
	if u.failure == nil {
		f.acked[i/64] |= 1 << (i % 64)
		if !f.dirty {
			f.dirty = true
			s.dirty = append(s.dirty, f)
		}
		s.server.unitsAcked.Add(1)
	} else {
		u.failure.Sequence = f.first + uint64(i)
		s.failed = append(s.failed, failedUnit{f, i})
	}
	if u.epoch != nil {
		s.finished(u, u.failure == nil)
	}
	s.signal()
}

// drop takes back units that were admitted and are not produced: the stream is ending, the client sends them again.
func (s *session) drop(units []unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return
	}
	for i := range units {
		s.open--
		if units[i].epoch != nil {
			s.finished(&units[i], false)
		}
	}
	s.signal()
}

// queue puts a message behind the reports that are there now. mu is held.
func (s *session) queue(m *sidecarpb.DeliveryStreamResponse) {
	s.cold = append(s.cold, m)
	s.signal()
}

func (s *session) send(m *sidecarpb.DeliveryStreamResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue(m)
}

// signal wakes the sender, once until it has looked. mu is held.
func (s *session) signal() {
	if !s.woken {
		s.woken = true
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

const (
	maxRanges   = 2048 // in one message; about 20 KiB
	maxFailures = 128
)

// outgoing is what the sender takes at once. Its slices are used again.
type outgoing struct {
	acked  []wire.Range
	failed []*sidecarpb.UnitFailure
	cold   []*sidecarpb.DeliveryStreamResponse
	last   bool // nothing more will come
}

func (o *outgoing) empty() bool { return len(o.acked) == 0 && len(o.failed) == 0 && len(o.cold) == 0 }

// take moves what is to be sent into out, and gives the credit of what it reports back. Cold messages come only behind all reports
// that were there before them: Released must not overtake the reports of the units that it speaks of.
func (s *session) take(out *outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = false
	out.acked, out.failed, out.cold = out.acked[:0], out.failed[:0], nil
	if s.dead {
		return
	}
	taken := credit{}
	done := 0
	for _, f := range s.dirty {
		if len(out.acked) >= maxRanges {
			break
		}
		taken.acked(f, out)
		done++
	}
	s.dirty = removeFirst(s.dirty, done)
	n := min(len(s.failed), maxFailures)
	for _, x := range s.failed[:n] {
		taken.unit(x.frame, x.unit)
		out.failed = append(out.failed, x.frame.units[x.unit].failure)
		x.frame.reported(1)
	}
	s.failed = removeFirst(s.failed, n)
	s.outUnits -= taken.units
	s.outBytes -= taken.bytes
	s.outRecords -= taken.records
	s.app.meter.sub(taken.bytes, taken.records)
	if len(s.dirty) == 0 && len(s.failed) == 0 {
		out.cold, s.cold = s.cold, nil
		out.last = s.leaving && s.open == 0
	} else {
		s.signal()
	}
}

func removeFirst[T any](list []T, n int) []T {
	m := copy(list, list[n:])
	clear(list[m:])
	return list[:m]
}

// credit is what reported units give back.
type credit struct{ units, bytes, records int64 }

func (c *credit) unit(f *frame, i int32) {
	u := &f.units[i]
	c.units++
	c.bytes += u.size
	c.records += u.records()
}

// acked turns a frame's bits into ranges.
func (c *credit) acked(f *frame, out *outgoing) {
	n := 0
	for w, word := range f.acked {
		f.acked[w] = 0
		for ; word != 0; word &= word - 1 {
			i := int32(w*64 + bits.TrailingZeros64(word))
			c.unit(f, i)
			out.add(f.first + uint64(i))
			n++
		}
	}
	f.dirty = false
	f.reported(n)
}

func (o *outgoing) add(seq uint64) {
	if n := len(o.acked); n > 0 && o.acked[n-1].First+o.acked[n-1].Count == seq {
		o.acked[n-1].Count++
		return
	}
	o.acked = append(o.acked, wire.Range{First: seq, Count: 1})
}

// reported counts units down; the frame is not needed for reports any more when none is left. session.mu is held.
func (f *frame) reported(n int) {
	if f.unreported -= n; f.unreported == 0 {
		f.hold(1)
	}
}

// pin counts a frame's memory from the moment it is received, unpin when its buffer was freed.
func (s *session) pin(f *frame) {
	f.pinned = int64(f.buf.Len())
	n := int64(len(f.recs)) + 1
	s.pinned.add(f.pinned, n)
	s.server.pinned.add(f.pinned, n)
}

func (s *session) unpin(f *frame) {
	n := int64(len(f.recs)) + 1
	s.pinned.sub(f.pinned, n)
	s.server.pinned.sub(f.pinned, n)
}
