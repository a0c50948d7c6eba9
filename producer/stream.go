package producer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/resend"
	"github.com/ackmark/ackmark/producer/internal/unit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	// A stream on which nothing came for quietAfter is asked for a sign of life, which must come
	// within answerWithin: a dead peer is noticed within ten seconds. gRPC's own keepalive cannot:
	// it does not ping more often than every 10 s, and a server may punish it for pinging at all.
	quietAfter   = 3 * time.Second
	answerWithin = 4 * time.Second
)

// stream is one DeliveryStream. What stands below the line is guarded by mu.
type stream struct {
	*shared
	conn    *grpc.ClientConn
	rpc     grpc.ClientStream
	welcome *sidecarpb.Welcome
	ctx     context.Context // ends when the stream does; the cause says why
	fail    context.CancelCauseFunc
	heard   atomic.Int64 // messages received

	tasks *sync.WaitGroup // awaited by Close; set before it serves

	controls   []*sidecarpb.DeliveryStreamRequest // go out before units
	states     []*sidecarpb.DeliveryStreamRequest // of the process: between frames
	topicsSent int                                // the writer's own
	draining   bool                               // the sidecar is about to stop: nothing is sent any more
	departing  bool                               // Goodbye was said, for the direct way
	expired    bool                               // the sidecar gave units back: it takes no more on this stream
}

var (
	errDeparted    = errors.New("the session ended in order, for the direct way to Kafka")
	errSlowGoodbye = errors.New("the sidecar did not finish in time after Goodbye")
)

func (s *stream) saidGoodbye() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.departing
}

var errDrained = errors.New("the sidecar is stopping and has reported everything it had")

// write sends: control messages first, then frames as the credit allows.
func (s *stream) write() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ctx.Err() == nil {
		if len(s.controls) > 0 {
			if !s.sendControls() {
				return
			}
			continue
		}
		if !s.life.isLeaving() && !s.draining && !s.departing {
			if f := s.books.queue.Send(s.books.credit, s.books.maxUnit); f != nil {
				s.sendFrame(f)
				if len(s.states) > 0 { // one between two frames: units do not wait for more
					s.sendState()
				}
				continue
			}
			if len(s.states) > 0 {
				s.sendState()
				continue
			}
		}
		s.idle = true
		s.writable.Wait()
		s.idle = false
	}
}

// sendControls sends the queued control messages; false: Goodbye was the last one. The lock is
// given up meanwhile. The stream is not closed upwards after Goodbye: the sidecar ends it when it
// has reported everything.
func (s *stream) sendControls() bool {
	list := s.controls
	s.controls = nil
	s.mu.Unlock()
	defer s.mu.Lock()
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
func (s *stream) sendFrame(f *resend.Frame) {
	buf := f.Buf
	buf.Ref()
	defer buf.Free()
	limit := s.books.maxUnit
	if limit == 0 {
		limit = resend.MaxUnit // the sidecar names none
	}
	names := s.books.topics.names[s.topicsSent:] // never changed, only appended to
	expires := s.fall.expiresAt(&s.cfg, f.End())
	s.mu.Unlock()
	defer s.mu.Lock()
	head := s.nameTopics(names, wire.UnitsHeader{FirstSequence: f.First, ExpiresAtNs: expires}, limit-buf.Len())
	start := wire.AppendUnitsHeader(make([]byte, 0, 32), &head, buf.Len())
	s.send(&wire.Raw{Buffers: mem.BufferSlice{mem.SliceBuffer(start), buf}})
}

// namesBytes closes a message of nothing but topic names; the smallest limit of messages that a
// sidecar can have is above 64 KiB.
const namesBytes = 32 << 10

// nameTopics puts the names that the stream has not heard into the header of units that leave so
// much room in their message. Names that do not fit go before, in messages of their own: the
// sidecar would break the stream over a message that is too large, and over the same one on the
// next stream, for ever. It is called without the lock.
func (s *stream) nameTopics(names []string, head wire.UnitsHeader, room int) wire.UnitsHeader {
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
				s.fail(s.cfg.unauthorized(err, st.Message()))
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
	s.mu.Lock()
	defer s.mu.Unlock()
	var lie error
	before := s.books.queue.Taken().Records
	book := func(first, n uint64, err *Error) {
		if lie == nil {
			lie = s.books.queue.Check(first, n)
		}
		switch {
		case lie != nil:
		case err != nil && notBegun(err.Code):
			s.expired = true
			s.books.queue.GiveBack(first)
		default:
			s.books.queue.Report(first, int(n), err)
		}
	}
	err := wire.DecodeReports(body,
		func(r wire.Range) { book(r.First, r.Count, nil) },
		func(f *sidecarpb.UnitFailure) { book(f.GetSequence(), 1, wireError(f)) })
	s.fall.usage.sidecar += uint64(before - s.books.queue.Taken().Records)
	if err == nil && lie == nil && s.books.queue.AllBack() {
		err = s.takeBack()
	}
	s.afterReports()
	if s.books.queue.Pinned() > s.books.mayPin() {
		s.books.queue.Shrink()
	}
	if err == nil && lie != nil {
		err = fmt.Errorf("protocol error: %w", lie)
	}
	if err == nil && s.draining && s.books.queue.Sent() == (unit.Cost{}) {
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
	if s.expired && s.session.resumes {
		return errExpired
	}
	s.books.queue.TakeBack(s.books.unfit)
	return nil
}

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
	if said := m.GetRoutes(); said != nil && s.cfg.routes != nil {
		return s.hearRoutes(said)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch k := m.GetKind().(type) {
	case *sidecarpb.DeliveryStreamResponse_Credit:
		s.books.setCredit(k.Credit)
		if n := k.Credit.GetNumber(); n != 0 { // behind the frame that is being sent, before the next one; a newer word stands for an older one
			s.controls = slices.DeleteFunc(s.controls, func(m *sidecarpb.DeliveryStreamRequest) bool { return m.GetCreditTaken() != nil })
			s.control(s, &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_CreditTaken{CreditTaken: &sidecarpb.CreditTaken{Number: n}}})
		}
		s.afterReports()
	case *sidecarpb.DeliveryStreamResponse_Released:
		s.releases.answer(k.Released.GetRequestId())
	case *sidecarpb.DeliveryStreamResponse_Inherited:
		s.inherits.answer(k.Inherited.GetRequestId())
	case *sidecarpb.DeliveryStreamResponse_MemberFenced:
		s.memberFenced(k.MemberFenced)
	case *sidecarpb.DeliveryStreamResponse_Draining:
		s.draining = true
		s.cfg.Logger.Info("the sidecar is stopping", "target", s.cfg.Target, "within_ms", k.Draining.GetDeadlineMs())
		if s.books.queue.Sent() == (unit.Cost{}) {
			return errDrained
		}
	case *sidecarpb.DeliveryStreamResponse_Welcome:
		return errors.New("protocol error: a second Welcome")
	}
	return nil // what a newer sidecar adds is no concern of ours
}

// watch breaks the stream when the sidecar gives no sign of life, and tells it the process's state.
func (s *stream) watch() {
	t := time.NewTicker(quietAfter)
	defer t.Stop()
	var states <-chan time.Time
	if tellsState(s.welcome) {
		often := time.NewTicker(tellEvery)
		defer often.Stop()
		states = often.C
	}
	var told telling
	heard := int64(-1)
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-states:
			s.tell(&told, time.Now())
			continue
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

// ping asks for any answer at all: an error that the sidecar gives is one. The call has no deadline
// of its own: gRPC would tell the sidecar of it in a header that differs each time, and both sides
// keep the last 4 KiB of such headers for each connection.
func (s *stream) ping() error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	late := time.AfterFunc(answerWithin, cancel)
	_, err := healthpb.NewHealthClient(s.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: "liveness"})
	if inTime := late.Stop(); err != nil && !inTime {
		return fmt.Errorf("no sign of life from the sidecar for %v", quietAfter+answerWithin)
	}
	return nil
}

// depart ends the session in order, for the direct way: what was sent is finished and reported
// first, nothing more is sent. A sidecar that does not manage in time is left when what it has is
// expired. The caller holds mu.
func (s *stream) depart() {
	if s.departing {
		return
	}
	s.departing = true
	s.session.resumes = false
	s.control(s, goodbyeMessage())
	if s.fall.sent.hasNoExpiry(s.books.queue.Unreported()) {
		return // nothing of this may be left with it
	}
	t := time.AfterFunc(s.cfg.Fallback.UnitTTL+answerWithin, func() { s.fail(errSlowGoodbye) })
	context.AfterFunc(s.ctx, func() { t.Stop() })
}

func goodbyeMessage() *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Goodbye{Goodbye: &sidecarpb.Goodbye{}}}
}

// status asks the sidecar how it is.
func (s *stream) status(ctx context.Context, req *sidecarpb.StatusRequest) (*sidecarpb.StatusResponse, error) {
	return sidecarpb.NewSidecarClient(s.conn).Status(ctx, req)
}
