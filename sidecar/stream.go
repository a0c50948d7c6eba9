package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/listen"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// ProtocolVersion is the major version of the protocol that this sidecar speaks.
const ProtocolVersion = 1

const (
	helloTimeout  = 5 * time.Second
	maxTopicIndex = 1<<16 - 1
	maxTopicName  = 249
)

var validSession = regexp.MustCompile(`^[\x21-\x7e]{1,64}$`)

type serverStream = grpc.BidiStreamingServer[sidecarpb.DeliveryStreamRequest, sidecarpb.DeliveryStreamResponse]

// delivery is one DeliveryStream. The handler's goroutine sends; receive runs beside it and ends
// with the stream.
type delivery struct {
	server   *Server
	stream   serverStream
	joined   chan *session      // the session, when Hello was accepted
	failed   chan error         // why receiving ended; capacity 1
	wake     chan struct{}      // there is something to send; capacity 1
	replaced chan struct{}      // closed when the session goes on with another stream
	woken    bool               // under session.mu
	welcome  *sidecarpb.Welcome // set before joined
	heirs    atomic.Int32       // Inherit messages that are not answered

	// The receiver's own:
	session *session
	names   topicNames
	units   wire.Units
	cold    sidecarpb.DeliveryStreamRequest
}

func newDelivery(s *Server, stream serverStream) *delivery {
	return &delivery{
		server: s, stream: stream, joined: make(chan *session, 1), failed: make(chan error, 1), wake: make(chan struct{}, 1), replaced: make(chan struct{}),
	}
}

// DeliveryStream carries units up and reports down.
func (s *Server) DeliveryStream(stream grpc.BidiStreamingServer[sidecarpb.DeliveryStreamRequest, sidecarpb.DeliveryStreamResponse]) error {
	if s.draining.Load() {
		return status.Error(codes.Unavailable, "DRAINING: the sidecar is about to stop: connect again when it is back")
	}
	d := newDelivery(s, stream)
	// receive cannot be waited for here: it sits in RecvMsg until this handler has returned. Run
	// waits for it.
	s.receivers.Go(d.receive)
	hello := time.NewTimer(helloTimeout)
	defer hello.Stop()
	select {
	case sess := <-d.joined:
		err := d.send(sess)
		s.detach(d, sess, err)
		return err
	case err := <-d.failed:
		d.discard()
		return err
	case <-hello.C:
		d.discard()
		return status.Errorf(codes.DeadlineExceeded, "no Hello within %s", helloTimeout)
	}
}

// discard leaves a session that was joined at the same moment as the stream failed. The nil that it
// puts in tells a receiver that comes to join only afterwards: nobody else would leave its session,
// which would count against MaxSessions for ever and hold every drain up.
func (d *delivery) discard() {
	select {
	case sess := <-d.joined:
		d.server.detach(d, sess, errStreamDone)
	case d.joined <- nil:
	}
}

// send writes what the session has to say, until it or the stream has ended.
func (d *delivery) send(s *session) error {
	if err := d.stream.Send(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Welcome{Welcome: d.welcome}}); err != nil {
		return err
	}
	var out outgoing
	for {
		select {
		case <-d.wake:
		case err := <-d.failed:
			return err
		case <-d.replaced:
			return endStatus(errReplaced)
		case <-d.stream.Context().Done(): // the receiver may be at a frame that waits for Kafka, and see it late
			return endStatus(errStreamDone)
		case <-s.ctx.Done():
			return endStatus(context.Cause(s.ctx))
		}
		if err := s.take(d, &out); err != nil {
			return endStatus(err)
		}
		if err := d.write(&out); err != nil {
			d.hearOut()
			return err
		}
		if out.last {
			s.end(errStreamDone)
			return d.goodbye()
		}
	}
}

// hearOut waits, when nothing can be sent any more, until what the client had sent before is read:
// the end of its connection tells, see listen.Conn.Read.
func (d *delivery) hearOut() {
	late := time.NewTimer(listen.LastWords)
	defer late.Stop()
	select {
	case <-d.failed:
	case <-d.replaced:
	case <-d.stream.Context().Done():
	case <-late.C:
	}
}

func (d *delivery) goodbye() error {
	if d.server.draining.Load() {
		return status.Error(codes.Unavailable, "DRAINING: everything received is reported; connect again when the sidecar is back")
	}
	return nil
}

func (d *delivery) write(out *outgoing) error {
	if len(out.Acked)+len(out.Failed) > 0 {
		pool := wire.Pool()
		buf := pool.Get(32*len(out.Acked) + 64)
		*buf = wire.AppendReports((*buf)[:0], out.Acked, out.Failed)
		raw := wire.Raw{Buffers: mem.BufferSlice{mem.NewBuffer(buf, pool)}}
		err := d.stream.SendMsg(&raw)
		raw.Buffers.Free()
		if err != nil {
			return err
		}
	}
	for _, m := range out.cold {
		if err := d.stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// receive is the stream's receiving goroutine.
func (d *delivery) receive() {
	defer d.forgetNames()
	line := peer.Of(d.stream.Context()).Line
	if line == nil {
		line = new(listen.Conn) // behind TLS
	}
	defer line.Receive()()
	var m wire.Message
	if err := d.first(&m); err != nil {
		d.failed <- err
		return
	}
	for {
		if err := d.stream.RecvMsg(&m); err != nil {
			d.failed <- d.ended(err)
			return
		}
		line.Work()
		err := d.handle(&m)
		line.Rest()
		m.Free()
		if err != nil {
			d.failed <- endStatus(err)
			return
		}
	}
}

// first reads and handles Hello: as one of few at a time, because nobody is known yet who could be
// held to a credit.
func (d *delivery) first(m *wire.Message) error {
	free, err := d.server.calls.Of(calls.Delivery).Reader(d.stream.Context())
	if err != nil {
		return err
	}
	err = d.stream.RecvMsg(m)
	free()
	if err != nil {
		return d.ended(err)
	}
	defer m.Free()
	if err := d.handle(m); err != nil {
		return endStatus(err)
	}
	return nil
}

func (d *delivery) forgetNames() {
	if d.session != nil {
		d.names.forget(&d.session.stock.kept)
	}
}

// ended is what a broken stream, or one that the client half-closed, ends with.
func (d *delivery) ended(err error) error {
	if errors.Is(err, io.EOF) {
		return status.Error(codes.Canceled, "the client closed the stream without Goodbye")
	}
	return err
}

// endStatus makes a gRPC status of the reason why a stream ends.
func endStatus(err error) error {
	switch {
	case errors.Is(err, errViolation):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, errReplaced):
		return status.Error(codes.Aborted, err.Error())
	case errors.Is(err, errFenced):
		return fencedStatus(err.Error())
	case errors.Is(err, errDraining):
		return status.Error(codes.Unavailable, "DRAINING: "+err.Error())
	case errors.Is(err, errStreamDone), errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}

func (d *delivery) handle(m *wire.Message) error {
	d.cold.Reset()
	body, hot, err := m.Request(&d.cold)
	if err != nil {
		return fmt.Errorf("%w: %w", errViolation, err)
	}
	if d.session == nil {
		return d.hello(d.cold.GetHello())
	}
	d.session.intake.handling.Lock()
	defer d.session.intake.handling.Unlock()
	if d.session.ctx.Err() != nil {
		return context.Cause(d.session.ctx)
	}
	if hot {
		return d.frame(m, body)
	}
	switch k := d.cold.GetKind().(type) {
	case *sidecarpb.DeliveryStreamRequest_Assign:
		return d.session.assign(d, k.Assign)
	case *sidecarpb.DeliveryStreamRequest_Release:
		return d.session.release(d, k.Release)
	case *sidecarpb.DeliveryStreamRequest_Inherit:
		return d.session.answerHeir(d, k.Inherit)
	case *sidecarpb.DeliveryStreamRequest_Goodbye:
		return d.session.sayGoodbye(d)
	case *sidecarpb.DeliveryStreamRequest_Hello:
		return fmt.Errorf("%w: a second Hello", errViolation)
	default:
		// A kind that a later 1.x client knows: it asked for the feature in Hello, and was told
		// that we do not have it.
	}
	return nil
}

// frame takes over the message's buffer.
func (d *delivery) frame(m *wire.Message, body []byte) error {
	s := d.session
	if err := d.room(); err != nil {
		return err
	}
	if err := d.units.Parse(body, d.name); err != nil {
		return fmt.Errorf("%w: %w", errViolation, err)
	}
	window := s.window.records
	if d.units.Count == 0 {
		return nil
	}
	if d.units.Count > window {
		return fmt.Errorf("%w: credit exceeded: %d units in one message, the credit is %d records", errViolation, d.units.Count, window)
	}
	f := newFrame(s)
	if err := f.decode(&d.units, &d.names, window); err != nil {
		return fmt.Errorf("%w: %w", errViolation, err)
	}
	f.expires = d.units.ExpiresAtNs
	if err := s.admit(d, f); err != nil {
		if errors.Is(err, errDraining) {
			return nil // not received: the client sends it again, to the next sidecar
		}
		return err
	}
	f.buf = m.Take()
	s.pin(f)
	return s.deliver(f)
}

// room waits until the memory that this session, its app, and all sessions hold is below its
// limits.
func (d *delivery) room() error {
	s := d.session
	for _, m := range []*limit.Meter{s.intake.pinned, s.app.meter, s.app.pinned, d.server.pinned} {
		if err := m.Wait(s.ctx); err != nil {
			return err
		}
	}
	return nil
}

// hello opens the session.
func (d *delivery) hello(h *sidecarpb.Hello) error {
	switch {
	case h == nil:
		return fmt.Errorf("%w: the first message must be Hello", errViolation)
	case h.GetVersion() != ProtocolVersion:
		return status.Errorf(codes.FailedPrecondition, "protocol version %d is spoken by the client (%s), version %d by this sidecar (%s): use the same major version on both sides",
			h.GetVersion(), h.GetClientVersion(), ProtocolVersion, d.server.cfg.Version)
	case !validSession.MatchString(h.GetSessionId()):
		return fmt.Errorf("%w: session id %.80q: use 1 to 64 printable ASCII characters without spaces", errViolation, h.GetSessionId())
	case h.GetApp() == "":
		return fmt.Errorf("%w: app is required in Hello", errViolation)
	}
	a, err := d.server.admitApp(d.stream.Context(), h.GetApp(), h.GetToken())
	if err != nil {
		return err
	}
	defer a.leave() // the session has it in its own hands
	s, err := d.server.join(d, h, a)
	if err != nil {
		return err
	}
	d.session = s
	select {
	case d.joined <- s:
		return nil
	default: // the handler has given up, see discard
		d.server.detach(d, s, errStreamDone)
		return errStreamDone
	}
}
