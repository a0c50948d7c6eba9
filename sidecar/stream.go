package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/brokers"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/listen"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/internal/routes"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
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

// streams answers DeliveryStream.
type streams struct {
	log             *slog.Logger
	identity        *identity
	drain           *draining
	calls           *calls.Calls
	maxMessageBytes int
	brokers         *brokers.Brokers
	sink            *sink
	apps            *apps.Apps
	sessions        *table
	wills           *wills
	routes          *routes.Table
	transactions    *transactions // nil: there are none

	receivers sync.WaitGroup // receive goroutines
}

// stream is one DeliveryStream. The handler's goroutine waits for its end. What reads Hello, and
// what sends, runs beside it on goroutines that do not outlive that, or a rest: each has grown its
// stack to do its work, and one that only waits would keep that for ever (see rest).
type stream struct {
	rpc      serverStream
	joined   chan *session      // the session, when Hello was accepted
	ends     chan ending        // of receiving, and of sending; capacity 2: each ends once
	wake     chan struct{}      // there is something to send; capacity 1
	replaced chan struct{}      // closed when the session goes on with another stream
	woken    bool               // under session.mu
	stopped  bool               // nothing is sent any more; under session.mu
	begin    func()             // begins to send; nil: somebody sends already, or nobody shall; under session.mu
	senders  sync.WaitGroup     // one at most
	said     *ending            // the sender's last word; read when senders have ended
	welcome  *sidecarpb.Welcome // set before joined
	heirs    atomic.Int32       // Inherit messages that are not answered
	// followsRoutes: its client has the feature. Set before it is a session's.
	followsRoutes bool

	// The receiver's own:
	session  *session
	names    topics.Names
	units    wire.Units
	shape    shape // of its messages
	in       wire.Message
	cold     sidecarpb.DeliveryStreamRequest
	line     *listen.Conn
	received func() // tells the line that the receiver ends
	missed   bool   // the session has inputs that it does not follow, and that are not counted
}

func newStream(rpc serverStream) *stream {
	return &stream{
		rpc: rpc, joined: make(chan *session, 1), ends: make(chan ending, 2), wake: make(chan struct{}, 1), replaced: make(chan struct{}),
	}
}

// DeliveryStream carries units up and reports down.
func (s *streams) DeliveryStream(rpc grpc.BidiStreamingServer[sidecarpb.DeliveryStreamRequest, sidecarpb.DeliveryStreamResponse]) error {
	if s.drain.begun.Load() {
		return status.Error(codes.Unavailable, "DRAINING: the sidecar is about to stop: connect again when it is back")
	}
	d := newStream(rpc)
	// receive cannot be waited for here: it sits in RecvMsg until this handler has returned. Run
	// waits for it.
	s.receivers.Go(func() { s.receive(d) })
	sess, err := d.awaitHello()
	if err != nil {
		s.discard(d)
		return err
	}
	s.beginSending(d, sess)
	err = s.awaitEnd(d, sess)
	sess.stopSending(d)
	d.senders.Wait()
	if d.said != nil && sess.goesOn(d) == nil { // whatever else came at the same time
		sess.end(errStreamDone)
		err = d.said.err
	}
	s.detach(d, sess, err)
	return err
}

// awaitHello waits for the session.
func (d *stream) awaitHello() (*session, error) {
	late := time.NewTimer(helloTimeout)
	defer late.Stop()
	select {
	case sess := <-d.joined:
		return sess, nil
	case end := <-d.ends:
		return nil, end.err
	case <-late.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no Hello within %s", helloTimeout)
	}
}

// discard leaves a session that was joined at the same moment as the stream failed. The nil that it
// puts in tells a receiver that comes to join only afterwards: nobody else would leave its session,
// which would count against MaxSessions for ever and hold every drain up.
func (s *streams) discard(d *stream) {
	select {
	case sess := <-d.joined:
		s.detach(d, sess, errStreamDone)
	case d.joined <- nil:
	}
}

// awaitEnd waits for the end of the stream, or of the session.
func (s *streams) awaitEnd(d *stream, sess *session) error {
	for {
		select {
		case end := <-d.ends:
			if end.quiet {
				continue // the last word is the sender's
			}
			if end.unsent {
				d.hearOut()
			}
			return end.err
		case <-d.replaced:
			return endStatus(errReplaced)
		case <-d.rpc.Context().Done(): // the receiver may be at a frame that waits for Kafka, and see it late
			return endStatus(errStreamDone)
		case <-sess.ctx.Done():
			return endStatus(context.Cause(sess.ctx))
		}
	}
}

// hearOut waits, when nothing can be sent any more, until what the client had sent before is read:
// the end of its connection tells, see listen.Conn.Read.
func (d *stream) hearOut() {
	late := time.NewTimer(listen.LastWords)
	defer late.Stop()
	select {
	case <-d.ends:
	case <-d.replaced:
	case <-d.rpc.Context().Done():
	case <-late.C:
	}
}

// receive begins to receive.
func (s *streams) receive(d *stream) {
	if d.line = peer.Of(d.rpc.Context()).Line; d.line == nil {
		d.line = new(listen.Conn) // behind TLS
	}
	d.received = d.line.Receive()
	if err := s.first(d); err != nil {
		d.fail(err)
		return
	}
	s.receivers.Go(func() { s.read(d) })
}

// read receives after Hello, on a goroutine of its own, whose stack Hello has not grown.
func (s *streams) read(d *stream) {
	for {
		if err := d.rpc.RecvMsg(&d.in); err != nil {
			if errors.Is(err, io.EOF) && d.session.saidGoodbye() {
				d.endReceiving(ending{quiet: true})
				return
			}
			d.fail(brokenStatus(err))
			return
		}
		d.line.Work()
		err := s.handle(d, &d.in)
		d.line.Rest()
		d.in.Free()
		if err != nil {
			d.fail(endStatus(err))
			return
		}
	}
}

// fail ends receiving, and with it the stream.
func (d *stream) fail(err error) { d.endReceiving(ending{err: err}) }

func (d *stream) endReceiving(how ending) {
	d.ends <- how
	d.received()
	d.forgetNames()
}

// first reads and handles Hello: as one of few at a time, because nobody is known yet who could be
// held to a credit.
func (s *streams) first(d *stream) error {
	free, err := s.calls.Reader(d.rpc.Context())
	if err != nil {
		return err
	}
	err = d.rpc.RecvMsg(&d.in)
	free()
	if err != nil {
		return brokenStatus(err)
	}
	defer d.in.Free()
	if err := s.handle(d, &d.in); err != nil {
		return endStatus(err)
	}
	return nil
}

func (d *stream) forgetNames() {
	if d.session != nil {
		d.names.Forget(d.session.held.Kept())
	}
}

// brokenStatus is what a broken stream, or one that the client half-closed, ends with.
func brokenStatus(err error) error {
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

func (s *streams) handle(d *stream, m *wire.Message) error {
	if m.TellsState() && d.session != nil && !d.session.told.Admits(time.Now()) {
		return nil
	}
	d.cold.Reset()
	body, hot, err := m.Request(&d.cold)
	if err != nil {
		return fmt.Errorf("%w: %w", errViolation, err)
	}
	if d.session == nil {
		return s.hello(d, d.cold.GetHello())
	}
	d.session.intake.handling.Lock()
	defer d.session.intake.handling.Unlock()
	if d.session.ctx.Err() != nil {
		return context.Cause(d.session.ctx)
	}
	if hot {
		return s.frame(d, m, body)
	}
	switch k := d.cold.GetKind().(type) {
	case *sidecarpb.DeliveryStreamRequest_Assign:
		return s.assign(d, k.Assign)
	case *sidecarpb.DeliveryStreamRequest_Release:
		return s.atOnce(d.session.release(d, k.Release))
	case *sidecarpb.DeliveryStreamRequest_Inherit:
		return s.inherit(d, k.Inherit)
	case *sidecarpb.DeliveryStreamRequest_Crossed:
		d.session.claims.cross(k.Crossed)
		return nil
	case *sidecarpb.DeliveryStreamRequest_CreditTaken:
		s.sessions.creditTaken(d.session, k.CreditTaken.GetNumber())
		return nil
	case *sidecarpb.DeliveryStreamRequest_State:
		d.session.tells(d, k.State)
		return nil
	case *sidecarpb.DeliveryStreamRequest_Goodbye:
		return s.atOnce(d.session.sayGoodbye(d))
	case *sidecarpb.DeliveryStreamRequest_Hello:
		return fmt.Errorf("%w: a second Hello", errViolation)
	default:
		// A kind that a later 1.x client knows: it asked for the feature in Hello, and was told
		// that we do not have it.
	}
	return nil
}

// frame takes over the message's buffer.
func (s *streams) frame(d *stream, m *wire.Message, body []byte) error {
	sess := d.session
	if err := s.sink.room(sess); err != nil {
		return err
	}
	if err := d.units.Parse(body, func(index uint32, name string) error { return s.name(d, index, name) }); err != nil {
		return fmt.Errorf("%w: %w", errViolation, err)
	}
	s.sessions.wake(sess)
	credit := int(sess.credit.bound().Records)
	if sess.claims != nil && d.units.ExpiresAtNs != 0 {
		return fmt.Errorf("%w: expires_at_ns with feature %s: no unit goes another way", errViolation, featureExactlyOnce)
	}
	if d.units.Count == 0 {
		return nil
	}
	if d.units.Count > credit {
		return fmt.Errorf("%w: credit exceeded: %d units in one message, the credit is %d records", errViolation, d.units.Count, credit)
	}
	f, err := d.decode(s.sink, credit)
	if err != nil {
		return fmt.Errorf("%w: %w", errViolation, err)
	}
	f.expires.At = d.units.ExpiresAtNs
	if err := s.admit(d, f); err != nil {
		if errors.Is(err, errDraining) {
			return nil // not received: the client sends it again, to the next sidecar
		}
		return err
	}
	f.buf = m.Take()
	if s.sink.pin(f); sess.claims != nil {
		return s.sink.claim(f)
	}
	return s.sink.deliver(f)
}

// hello opens the session.
func (s *streams) hello(d *stream, h *sidecarpb.Hello) error {
	switch {
	case h == nil:
		return fmt.Errorf("%w: the first message must be Hello", errViolation)
	case h.GetVersion() != ProtocolVersion:
		return status.Errorf(codes.FailedPrecondition, "protocol version %d is spoken by the client (%s), version %d by this sidecar (%s): use the same major version on both sides",
			h.GetVersion(), h.GetClientVersion(), ProtocolVersion, s.identity.version)
	case !validSession.MatchString(h.GetSessionId()):
		return fmt.Errorf("%w: session id %.80q: use 1 to 64 printable ASCII characters without spaces", errViolation, h.GetSessionId())
	case h.GetApp() == "":
		return fmt.Errorf("%w: app is required in Hello", errViolation)
	}
	list := s.apps.Generation()
	a, err := s.apps.Admit(d.rpc.Context(), h.GetApp(), h.GetToken())
	if err != nil {
		return err
	}
	defer a.Leave() // the session has it in its own hands
	sess, err := s.join(d, h, a)
	if err != nil {
		return err
	}
	if s.apps.Generation() != list { // who replaced it may not have seen this session
		sess.startAgain(s.wills.times.drain())
	}
	d.session = sess
	(&router{table: s.routes}).tellNew(d, sess)
	select {
	case d.joined <- sess:
		return nil
	default: // the handler has given up, see discard
		s.detach(d, sess, errStreamDone)
		return errStreamDone
	}
}
