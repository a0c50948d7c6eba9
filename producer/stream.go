package producer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	// A stream on which nothing came for quietAfter is asked for a sign of life, which must come
	// within answerWithin: a dead peer is noticed within ten seconds. gRPC's own keepalive cannot:
	// it does not ping more often than every 10 s, and a server may punish it for pinging at all.
	quietAfter   = 3 * time.Second
	answerWithin = 4 * time.Second
)

// stream is one DeliveryStream. Its fields below the line are guarded by the client's mu.
type stream struct {
	c       *client
	conn    *grpc.ClientConn
	rpc     grpc.ClientStream
	welcome *sidecarpb.Welcome
	ctx     context.Context // ends when the stream does; the cause says why
	fail    context.CancelCauseFunc
	heard   atomic.Int64 // messages received

	controls   []*sidecarpb.DeliveryStreamRequest // go out before units
	credit     cost
	topicsSent int  // the writer's own
	draining   bool // the sidecar is about to stop: nothing is sent any more
	departing  bool // Goodbye was said, for the direct way
	expired    bool // the sidecar gave units back: it takes no more on this stream
}

var (
	errDeparted    = errors.New("the session ended in order, for the direct way to Kafka")
	errSlowGoodbye = errors.New("the sidecar did not finish in time after Goodbye")
)

func (s *stream) saidGoodbye() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.departing
}

var errDrained = errors.New("the sidecar is stopping and has reported everything it had")

// serve runs the stream until it ends and returns why. It begins with what every new stream must
// know: memberships and live epochs, then every unit that the sidecar does not have, in order,
// before any new one (S7).
func (c *client) serve(s *stream) error {
	if err := c.attach(s); err != nil {
		s.fail(err)
		_ = s.conn.Close()
		return err
	}
	var wg sync.WaitGroup
	wg.Go(s.write)
	wg.Go(s.read)
	wg.Go(s.watch)
	<-s.ctx.Done()
	c.mu.Lock()
	c.writable.Broadcast() // the writer must see that it is over
	c.mu.Unlock()
	_ = s.conn.Close()
	wg.Wait()
	c.detach(s)
	return context.Cause(s.ctx)
}

func (c *client) attach(s *stream) error {
	c.awaitTold()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.maxUnit = 0
	if n := int(s.welcome.GetMaxMessageBytes()); n > 0 {
		c.maxUnit = max(n-headRoom, 1)
	}
	if err := c.welcomed(s); err != nil {
		return err
	}
	c.stream = s
	c.fall.breaker.connected(time.Now())
	c.setCredit(s.welcome.GetCredit())
	if c.fall.mode == Forced && c.fall.broken == nil {
		s.depart() // it was only for the reports that were missing
	}
	c.announce()
	c.afterReports()
	return nil
}

// headRoom is left in a message for what stands beside a single unit: sequence number and lengths.
const headRoom = 64

// detach is called when no goroutine of the stream runs any more.
func (c *client) detach(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream = nil
	if s.departing {
		c.session = c.session.renewed(c.cfg.SessionID) // a session that said Goodbye is closed
	}
	if !c.session.resumes {
		c.lost() // otherwise the next stream brings the answers and the reports
	}
	c.announce()
	c.afterReports()
}

// setCredit replaces the credit. The caller holds mu.
func (c *client) setCredit(credit *sidecarpb.Credit) {
	const most = 1 << 40 // no overflow in sums, whatever the peer says
	c.stream.credit = cost{int64(min(credit.GetBytes(), most)), int(min(credit.GetRecords(), most))}
	own := c.ownLimit()
	c.limit = cost{min(own.bytes, c.stream.credit.bytes), min(own.records, c.stream.credit.records)}
}

// write sends: control messages first, then frames as the credit allows.
func (s *stream) write() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.ctx.Err() == nil {
		if len(s.controls) > 0 {
			if !s.sendControls() {
				return
			}
			continue
		}
		if !c.leaving && !s.draining && !s.departing {
			if f := c.win.send(s.credit, c.maxUnit); f != nil {
				s.sendFrame(f)
				continue
			}
		}
		c.idle = true
		c.writable.Wait()
		c.idle = false
	}
}

// sendControls sends the queued control messages; false: Goodbye was the last one. The lock is
// given up meanwhile. The stream is not closed upwards after Goodbye: the sidecar ends it when it
// has reported everything.
func (s *stream) sendControls() bool {
	list := s.controls
	s.controls = nil
	s.c.mu.Unlock()
	defer s.c.mu.Lock()
	for _, m := range list {
		s.send(m)
		if m.GetGoodbye() != nil {
			return false
		}
	}
	return true
}

// sendFrame sends one frame. The lock is given up meanwhile, so the frame may be reported and freed
// by its last report: the reference taken here keeps its bytes.
func (s *stream) sendFrame(f *frame) {
	buf := f.buf
	buf.Ref()
	defer buf.Free()
	limit := s.c.maxUnit
	if limit == 0 {
		limit = maxUnit // the sidecar names none
	}
	names := s.c.topics.names[s.topicsSent:] // never changed, only appended to
	expires := s.c.expiresAt(f)
	s.c.mu.Unlock()
	defer s.c.mu.Lock()
	head := s.name(names, wire.UnitsHeader{FirstSequence: f.first, ExpiresAtNs: expires}, limit-buf.Len())
	start := wire.AppendUnitsHeader(make([]byte, 0, 32), &head, buf.Len())
	s.send(&wire.Raw{Buffers: mem.BufferSlice{mem.SliceBuffer(start), buf}})
}

// namesBytes closes a message of nothing but topic names; the smallest limit of messages that a
// sidecar can have is above 64 KiB.
const namesBytes = 32 << 10

// name puts the names that the stream has not heard into the header of units that leave so much
// room in their message. Names that do not fit go before, in messages of their own: the sidecar
// would break the stream over a message that is too large, and over the same one on the next
// stream, for ever. It is called without the lock.
func (s *stream) name(names []string, head wire.UnitsHeader, room int) wire.UnitsHeader {
	const around = 12 // tags, lengths and index of a name
	size := 0
	for _, n := range names {
		size += len(n) + around
	}
	apart := size > room
	bare, size := head, 0
	for _, n := range names {
		head.Topics = append(head.Topics, wire.TopicName{Index: uint32(s.topicsSent), Name: n})
		s.topicsSent++
		if size += len(n) + around; apart && size > namesBytes {
			s.sendNames(&head)
			head, size = bare, 0
		}
	}
	if apart && len(head.Topics) > 0 {
		s.sendNames(&head)
		head = bare
	}
	return head
}

func (s *stream) sendNames(head *wire.UnitsHeader) {
	s.send(&wire.Raw{Buffers: mem.BufferSlice{mem.SliceBuffer(wire.AppendUnitsHeader(nil, head, 0))}})
}

// send blocks while the stream is not writable. io.EOF means that the stream is broken: why, the
// reader learns.
func (s *stream) send(m any) {
	if err := s.rpc.SendMsg(m); err != nil && !errors.Is(err, io.EOF) {
		s.fail(fmt.Errorf("sending: %w", err))
	}
}

// read takes in what the sidecar says.
func (s *stream) read() {
	var m wire.Message
	defer m.Free()
	for {
		if err := s.rpc.RecvMsg(&m); err != nil {
			if fenced, ok := asFenced(err); ok {
				s.fail(fenced)
			}
			if st, ok := status.FromError(err); ok && st.Code() == codes.PermissionDenied {
				s.fail(s.c.cfg.unauthorized(err, st.Message()))
			}
			if s.saidGoodbye() && errors.Is(err, io.EOF) {
				s.fail(errDeparted)
			}
			s.fail(fmt.Errorf("the stream broke: %w", err))
			return
		}
		s.heard.Add(1)
		var cold sidecarpb.DeliveryStreamResponse
		reports, hot, err := m.Response(&cold)
		if err == nil && hot {
			err = s.report(reports)
		} else if err == nil {
			err = s.handle(&cold)
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// report books the reports of one message. A report that cannot be true breaks the stream (S12):
// what is not reported by then is sent again.
func (s *stream) report(body []byte) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	var lie error
	before := c.win.taken.records
	book := func(first, n uint64, err *Error) {
		if lie == nil {
			lie = c.win.check(first, n)
		}
		switch {
		case lie != nil:
		case err != nil && notBegun(err.Code):
			s.expired = true
			c.win.giveBack(first)
		default:
			c.win.report(first, int(n), err)
		}
	}
	err := wire.DecodeReports(body,
		func(r wire.Range) { book(r.First, r.Count, nil) },
		func(f *sidecarpb.UnitFailure) { book(f.GetSequence(), 1, wireError(f)) })
	c.fall.sidecarRecords += uint64(before - c.win.taken.records)
	if err == nil && lie == nil && c.win.back != 0 && c.win.allBack() {
		err = s.takeBack()
	}
	c.afterReports()
	if *c.win.pool.pinned > pinnedFactor*max(c.limit.bytes, 1<<20) {
		c.win.shrink()
	}
	if err == nil && lie != nil {
		err = fmt.Errorf("protocol error: %w", lie)
	}
	if err == nil && s.draining && c.win.sent == (cost{}) {
		err = errDrained
	}
	return err
}

// notBegun tells that the sidecar did not take a unit for a reason that is not the unit's. Whoever
// delivered it must not have to send it again: what was delivered after it would be before it (S7).
func notBegun(code string) bool { return code == wire.CodeExpired || code == wire.CodeDraining }

var errExpired = errors.New("units came too late to the sidecar: what came back is sent again")

// takeBack takes units that came too late to the sidecar for another try, when all that was sent
// after them is back, too. A sidecar whose sessions outlive a stream takes nothing more on this
// one, or what it got a moment later could overtake them.
func (s *stream) takeBack() error {
	if s.expired && s.c.session.resumes {
		return errExpired
	}
	s.c.win.takeBack(s.c.unfit)
	return nil
}

// pinnedFactor is how many times the limit frames may hold before what is left of them is copied
// out. Afterwards frames hold at most twice the limit, so that copying happens once per limit's
// worth of traffic at most.
const pinnedFactor = 3

func wireError(f *sidecarpb.UnitFailure) *Error {
	e := f.GetError()
	out := &Error{Code: wire.CurrentCode(e.GetCode()), Message: e.GetMessage(), Retryable: e.GetRetryable(), Topic: f.GetTopic(), Partition: f.GetPartition(),
		Output: int(f.GetOutput())}
	if out.Code == CodeFull {
		out.Err = ErrFull
	}
	return out
}

// handle does what a control message asks for.
func (s *stream) handle(m *sidecarpb.DeliveryStreamResponse) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch k := m.GetKind().(type) {
	case *sidecarpb.DeliveryStreamResponse_Credit:
		c.setCredit(k.Credit)
		c.afterReports()
	case *sidecarpb.DeliveryStreamResponse_Released:
		if r := c.releases[k.Released.GetRequestId()]; r != nil {
			close(r.answered)
			delete(c.releases, k.Released.GetRequestId())
		}
	case *sidecarpb.DeliveryStreamResponse_Inherited:
		c.heritage.answered(k.Inherited.GetRequestId())
	case *sidecarpb.DeliveryStreamResponse_Draining:
		s.draining = true
		c.cfg.Logger.Info("the sidecar is stopping", "target", c.cfg.Target, "within_ms", k.Draining.GetDeadlineMs())
		if c.win.sent == (cost{}) {
			return errDrained
		}
	case *sidecarpb.DeliveryStreamResponse_Welcome:
		return errors.New("protocol error: a second Welcome")
	}
	return nil // what a newer sidecar adds is no concern of ours
}

// watch breaks the stream when the sidecar gives no sign of life.
func (s *stream) watch() {
	t := time.NewTicker(quietAfter)
	defer t.Stop()
	heard := int64(-1)
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		if n := s.heard.Load(); n != heard {
			heard = n
			continue
		}
		if err := s.ping(); err != nil {
			s.fail(err)
			return
		}
	}
}

// ping asks for any answer at all: an error that the sidecar gives is one.
func (s *stream) ping() error {
	ctx, cancel := context.WithTimeout(s.ctx, answerWithin)
	defer cancel()
	_, err := healthpb.NewHealthClient(s.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: "liveness"})
	if status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("no sign of life from the sidecar for %v", quietAfter+answerWithin)
	}
	return nil
}
