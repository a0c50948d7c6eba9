package producer_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// script is a sidecar whose behaviour the test decides. It speaks through the generated code, not
// through internal/wire, and keeps a log in place of Kafka. Zero fields: a new session for every
// Hello, ample credit, units written and acknowledged as they come.
type script struct {
	sidecarpb.UnimplementedSidecarServer

	hello  func(*sidecarpb.Hello) (*sidecarpb.Welcome, error)
	credit *sidecarpb.Credit
	// units is called for every Units message after the books were checked; nil: write and
	// acknowledge.
	units func(*session, *sidecarpb.Units) error
	// control is called for every other message after Hello; nil: Release is answered, Goodbye ends
	// the stream.
	control func(*session, *sidecarpb.DeliveryStreamRequest) error
	// lives is not nil for a sidecar whose sessions outlive their streams (sidecar_resume_test.go).
	lives map[string]*life
	id    string // of the sidecar
	// sink is Kafka, if it is not the script's own log.
	sink func(producer.Record)
	// health answers the client's questions for a sign of life; nil: the usual one.
	health healthpb.HealthServer
	// died makes the socket of a stopped script refuse; otherwise it cannot be told what is wrong.
	died bool

	t        testing.TB
	listener *bufconn.Listener
	server   *grpc.Server
	serving  sync.WaitGroup

	mu       sync.Mutex
	log      map[string][]producer.Record
	sessions []*session
	stalled  bool
	waiting  []func() // what a stall holds back
}

type load struct{ bytes, records uint64 }

// session is one stream of the script.
type session struct {
	*script
	stream  grpc.BidiStreamingServer[sidecarpb.DeliveryStreamRequest, sidecarpb.DeliveryStreamResponse]
	hello   *sidecarpb.Hello
	next    uint64 // sequence number that must come next
	topics  map[uint32]string
	epochs  map[uint64]bool
	assigns []*sidecarpb.Assign
	got     []*sidecarpb.Unit
	life    *life             // nil: ends with its stream
	left    bool              // nothing is taken from this stream any more
	expired bool              // units came too late on this stream
	most    *sidecarpb.Credit // the largest credit given on this stream
	open    map[uint64]load   // sent and not reported
	send    sync.Mutex
	closing chan error // ends the stream
	working chan bool  // capacity 1, full while a message is worked on
}

func newScript(t testing.TB) *script {
	return &script{t: t, id: "script", log: map[string][]producer.Record{}, credit: &sidecarpb.Credit{Bytes: 1 << 20, Records: 10_000}}
}

// start serves. The script may be started again after stop: a restarted sidecar with the same log.
func (x *script) start() {
	lis := bufconn.Listen(256 << 10)
	server := grpc.NewServer()
	sidecarpb.RegisterSidecarServer(server, x)
	if x.health == nil {
		x.health = health.NewServer()
	}
	healthpb.RegisterHealthServer(server, x.health)
	x.mu.Lock()
	x.listener, x.server = lis, server
	x.mu.Unlock()
	x.serving.Go(func() { _ = server.Serve(lis) })
}

// stop kills the sidecar: connections break, nothing is answered.
func (x *script) stop() {
	x.mu.Lock()
	server := x.server
	x.server, x.listener = nil, nil
	x.mu.Unlock()
	if server != nil {
		server.Stop()
	}
	x.serving.Wait()
}

func (x *script) dial(ctx context.Context) (net.Conn, error) {
	x.mu.Lock()
	lis, died := x.listener, x.died
	x.mu.Unlock()
	if lis == nil && died {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: syscall.ECONNREFUSED}
	}
	if lis == nil {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: io.ErrClosedPipe}
	}
	return lis.DialContext(ctx)
}

func (x *script) config() producer.DialConfig {
	return producer.DialConfig{Target: "script", App: "test", Dialer: x.dial}
}

func (x *script) Status(context.Context, *sidecarpb.StatusRequest) (*sidecarpb.StatusResponse, error) {
	return &sidecarpb.StatusResponse{State: "serving"}, nil
}

func (x *script) DeliveryStream(stream grpc.BidiStreamingServer[sidecarpb.DeliveryStreamRequest, sidecarpb.DeliveryStreamResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s := &session{script: x, stream: stream, hello: first.GetHello(), next: 1, topics: map[uint32]string{}, epochs: map[uint64]bool{},
		open: map[uint64]load{}, closing: make(chan error, 10), working: make(chan bool, 1)}
	welcome := &sidecarpb.Welcome{Version: 1, SidecarId: x.id, Credit: x.credit, MaxMessageBytes: 1 << 20}
	if x.hello != nil {
		if welcome, err = x.hello(s.hello); err != nil {
			return err
		}
	} else if x.lives != nil {
		if err := s.live(welcome); err != nil {
			return err
		}
	}
	s.most = proto.CloneOf(welcome.GetCredit())
	x.mu.Lock()
	x.sessions = append(x.sessions, s)
	x.mu.Unlock()
	s.down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Welcome{Welcome: welcome}})
	s.catchUp()
	received := make(chan error, 1)
	go func() { received <- s.receive() }()
	select {
	case err = <-received:
	case err = <-s.closing:
	}
	return err // ends the stream's context, and with it receive
}

func (s *session) receive() error {
	for {
		m, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.working <- true
		if s.left {
			<-s.working
			return errCut
		}
		if u := m.GetUnits(); u != nil {
			s.check(u)
			err = s.takeUnits(u)
		} else {
			err = s.takeControl(m)
		}
		<-s.working
		if err != nil {
			return err
		}
	}
}

// check holds what every client must hold: consecutive numbers, names before indices, assignments
// before units.
func (s *session) check(u *sidecarpb.Units) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.GetFirstSequence() != s.next {
		s.t.Errorf("sequence %d came, %d was expected", u.GetFirstSequence(), s.next)
	}
	s.next = u.GetFirstSequence() + uint64(len(u.GetUnits()))
	if s.life != nil {
		s.life.received(u)
	}
	for _, n := range u.GetTopics() {
		if old, ok := s.topics[n.GetIndex()]; ok && old != n.GetName() {
			s.t.Errorf("topic index %d was %s and is %s", n.GetIndex(), old, n.GetName())
		}
		s.topics[n.GetIndex()] = n.GetName()
	}
	for i, unit := range u.GetUnits() {
		size := proto.Size(unit)
		s.open[u.GetFirstSequence()+uint64(i)] = load{uint64(1 + protowire.SizeBytes(size)), uint64(max(1, len(unit.GetOutputs())))}
		if src := unit.GetSource(); src != nil && !s.epochs[src.GetEpoch()] {
			s.t.Errorf("a unit of epoch %d came, which is not assigned on this stream", src.GetEpoch())
		}
		for _, out := range unit.GetOutputs() {
			if s.topics[out.GetTopic()] == "" {
				s.t.Errorf("topic index %d has no name", out.GetTopic())
			}
		}
		s.got = append(s.got, unit)
	}
	var sum load
	for _, l := range s.open {
		sum.bytes += l.bytes
		sum.records += l.records
	}
	if c := s.most; len(s.open) > 1 && (sum.bytes > c.GetBytes() || sum.records > c.GetRecords()) {
		s.t.Errorf("%+v are outstanding, the credit was never more than %v", sum, c)
	}
}

func (s *session) takeUnits(u *sidecarpb.Units) error {
	if s.units != nil {
		return s.units(s, u)
	}
	s.mu.Lock()
	if s.stalled {
		s.waiting = append(s.waiting, func() { s.writeAndAck(u) })
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	s.writeAndAck(u)
	return nil
}

// writeAndAck is what a healthy sidecar does. Units with an output to badTopic fail.
func (s *session) writeAndAck(u *sidecarpb.Units) {
	r := new(sidecarpb.DeliveryReports)
	for i, unit := range u.GetUnits() {
		seq := u.GetFirstSequence() + uint64(i)
		if bad := s.write(unit); bad >= 0 {
			r.Failed = append(r.Failed, failure(seq, bad))
		} else if n := len(r.Acked); n > 0 && r.Acked[n-1].First+r.Acked[n-1].Count == seq {
			r.Acked[n-1].Count++
		} else {
			r.Acked = append(r.Acked, &sidecarpb.Range{First: seq, Count: 1})
		}
	}
	s.report(r)
}

func failure(seq uint64, output int) *sidecarpb.UnitFailure {
	return &sidecarpb.UnitFailure{Sequence: seq, Output: uint32(output), Topic: badTopic, Partition: -1,
		Error: &sidecarpb.Error{Code: "UNKNOWN_TOPIC_OR_PARTITION", Message: "create it"}}
}

// write appends a unit's outputs to the log and returns the index of a bad one, or -1.
func (s *session) write(unit *sidecarpb.Unit) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, out := range unit.GetOutputs() {
		if s.topics[out.GetTopic()] == badTopic {
			return i
		}
	}
	for _, out := range unit.GetOutputs() {
		topic := s.topics[out.GetTopic()]
		if s.sink != nil {
			s.sink(record(topic, out))
			continue
		}
		s.log[topic] = append(s.log[topic], record(topic, out))
	}
	return -1
}

func (s *session) takeControl(m *sidecarpb.DeliveryStreamRequest) error {
	s.mu.Lock()
	if a := m.GetAssign(); a != nil {
		s.assigns = append(s.assigns, a)
		for _, p := range a.GetPartitions() {
			s.epochs[p.GetEpoch()] = true
		}
	}
	s.mu.Unlock()
	if s.control != nil {
		return s.control(s, m)
	}
	switch {
	case m.GetRelease() != nil:
		s.mu.Lock()
		answer := func() { s.released(m.GetRelease().GetRequestId()) }
		if s.stalled {
			s.waiting = append(s.waiting, answer)
			answer = func() {}
		}
		s.mu.Unlock()
		answer()
	case m.GetGoodbye() != nil:
		s.closing <- nil
	}
	return nil
}

func (s *session) released(id uint64) {
	s.down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Released{Released: &sidecarpb.Released{RequestId: id}}})
}

func (s *session) report(r *sidecarpb.DeliveryReports) {
	s.mu.Lock()
	if s.life != nil {
		current, missed := s.life.owes(r)
		if current == nil {
			s.mu.Unlock()
			return
		}
		s, r = current, missed
	}
	for _, a := range r.GetAcked() {
		for seq := a.GetFirst(); seq < a.GetFirst()+a.GetCount() && seq < s.next; seq++ {
			delete(s.open, seq)
		}
	}
	for _, f := range r.GetFailed() {
		delete(s.open, f.GetSequence())
	}
	s.mu.Unlock()
	s.down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Reports{Reports: r}})
}

func (s *session) setCredit(bytes, records uint64) {
	s.mu.Lock()
	s.most.Bytes, s.most.Records = max(s.most.Bytes, bytes), max(s.most.Records, records)
	s.mu.Unlock()
	s.down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Credit{
		Credit: &sidecarpb.Credit{Bytes: bytes, Records: records}}})
}

func (s *session) acked(first, count uint64) {
	s.report(&sidecarpb.DeliveryReports{Acked: []*sidecarpb.Range{{First: first, Count: count}}})
}

func (s *session) down(m *sidecarpb.DeliveryStreamResponse) {
	s.send.Lock()
	defer s.send.Unlock()
	_ = s.stream.Send(m)
}

// stall holds units back, and writes them in order when it ends.
func (x *script) stall(on bool) {
	x.mu.Lock()
	x.stalled = on
	list := x.waiting
	if !on {
		x.waiting = nil
	}
	x.mu.Unlock()
	for _, fn := range list {
		if !on {
			fn()
		}
	}
}

func (x *script) records(topic string) []producer.Record {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]producer.Record(nil), x.log[topic]...)
}

// session returns the i-th stream that was welcomed.
func (x *script) session(i int) *session {
	x.mu.Lock()
	defer x.mu.Unlock()
	if i >= len(x.sessions) {
		return nil
	}
	return x.sessions[i]
}
