package sidecar

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Server is a sidecar. Make it with New, run it once.
type Server struct {
	sidecarpb.UnimplementedSidecarServer

	cfg     Config
	log     *slog.Logger
	outlet  *outlet.Outlet
	client  *kgo.Client // the outlet's, for requests
	hooks   hooks
	promise func(*kgo.Record, error) // the promised method, made once: a method value is an allocation
	id      string
	started time.Time
	topics  *topics
	apps    *apps
	health  *health.Server

	pinned *limit.Meter // received buffers that records still need, of living and dead sessions
	emits  *limit.Meter
	common commonStock

	unitsAcked, recordsAcked, recordsFailed atomic.Uint64

	calls *calls.Table

	receivers sync.WaitGroup // receive goroutines of streams
	draining  atomic.Bool
	drained   chan struct{} // closed when every accepted record has its fate, or the deadline passed
	kafka     kafkaState
	gate      *gate

	outliving sync.WaitGroup  // sessions without a stream
	life      context.Context // of wills: ends when the sidecar stops
	stopLife  context.CancelFunc
	wills     willStats

	mu       sync.Mutex
	sessions map[string]*session
	closed   closedIDs
	lent     window        // what living sessions have beyond their floors
	idle     chan struct{} // closed when the last session leaves; nil: nobody waits
	state    runState
	stop     context.CancelCauseFunc // ends Run
	done     chan struct{}           // closed when Run has returned
}

type runState int

const (
	notRun runState = iota
	running
	closed
)

var (
	// ErrClosed is returned by Run after Close.
	ErrClosed = errors.New("sidecar: closed")
	// ErrAlreadyRun is returned by a second Run: a sidecar runs once.
	ErrAlreadyRun = errors.New("sidecar: Run was called before: a Server runs once, make a new one with New")
)

// New checks the configuration; it does not connect: see Check and Run. The errors are
// *ConfigError, joined where several fields or options are wrong.
func New(cfg Config) (*Server, error) {
	cfg = cfg.WithDefaults()
	if err := errors.Join(cfg.validate(), checkOptions(cfg.Options)); err != nil {
		return nil, err
	}
	if cfg.Partitioner == nil {
		cfg.Partitioner = kgo.StickyKeyPartitioner(nil)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, id: newID(), started: time.Now(), health: health.NewServer(),
		pinned: limit.NewMeter(2*cfg.MaxBytes, 2*cfg.MaxRecords), emits: limit.NewMeter(cfg.emitBytes(), cfg.emitRecords()), common: newCommonStock(&cfg),
		calls: calls.New(calls.Limits{Sessions: cfg.MaxSessions, Apps: len(cfg.Apps), Bytes: cfg.MaxBytes, MessageBytes: cfg.MaxMessageBytes}), drained: make(chan struct{}), done: make(chan struct{}), sessions: make(map[string]*session),
	}
	s.kafka.checked = make(chan struct{})
	s.promise = s.promised
	s.life, s.stopLife = context.WithCancel(context.Background())
	s.apps = newApps(&s.cfg, s.common.reports)
	s.topics = &topics{server: s, byName: make(map[string]*topic)}
	s.gate = newGate(s)
	out, err := s.newOutlet()
	if err != nil {
		return nil, fmt.Errorf("sidecar: Kafka client: %w", err)
	}
	s.outlet, s.client = out, out.Client()
	s.setHealth(false)
	return s, nil
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// Run serves until the context ends, then drains: clients are told, nothing new is taken, and what
// was accepted is delivered and reported, for at most DrainTimeout. It returns nil after a clean
// drain, *UndeliveredError if records were left, or why it could not serve.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err := s.begin(stop); err != nil {
		return err
	}
	defer close(s.done)
	defer s.outlet.Close()
	lis, err := s.listen()
	if err != nil {
		return err
	}
	return s.serve(ctx, lis)
}

func (s *Server) begin(stop context.CancelCauseFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case running:
		return ErrAlreadyRun
	case closed:
		return ErrClosed
	}
	s.state, s.stop = running, stop
	return nil
}

func (s *Server) serve(ctx context.Context, lis net.Listener) error {
	g := s.newGRPC()
	var background sync.WaitGroup
	failed := make(chan error, 1)
	background.Go(func() { failed <- g.Serve(lis) })
	watchCtx, stopWatch := context.WithCancel(context.Background())
	background.Go(func() { s.watchKafka(watchCtx) })
	background.Go(func() { s.gate.beat(watchCtx) })
	s.log.Info("sidecar serving", "listen", lis.Addr().String(), "brokers", s.cfg.Brokers, "sidecar_id", s.id, "version", s.cfg.Version)

	var err error
	select {
	case <-ctx.Done():
		if err = context.Cause(ctx); !errors.Is(err, ErrPaused) {
			err = s.drain(g)
		}
	case err = <-failed:
		err = fmt.Errorf("sidecar: listener %s: %w", lis.Addr(), err)
	}
	g.Stop()
	s.stopLife()
	for _, sess := range s.snapshot() {
		s.close(sess, errStopped)
	}
	s.outliving.Wait()
	stopWatch()
	background.Wait()
	s.receivers.Wait()
	return err
}

// halt ends Run without a drain.
func (s *Server) halt(cause error) {
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop(cause)
	}
}

// Close ends Run as the end of its context does, and waits for it; without Run it releases the
// Kafka client. A second Close does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	was := s.state
	s.state = closed
	stop := s.stop
	s.mu.Unlock()
	switch {
	case was == notRun:
		s.stopLife()
		s.outlet.Close()
		close(s.done)
	case stop != nil:
		stop(ErrClosed)
		<-s.done
	}
	return nil
}

// keepalive: a peer that is gone without a word is noticed after 10 s (spec row 10).
const (
	keepaliveTime    = 6 * time.Second
	keepaliveTimeout = 4 * time.Second
	streamsPerConn   = 1024
	connWindow       = 4 << 20
)

func (s *Server) newGRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(s.credentials()),
		grpc.ForceServerCodecV2(wire.Codec{}),
		grpc.MaxRecvMsgSize(s.cfg.MaxMessageBytes),
		grpc.MaxConcurrentStreams(streamsPerConn),
		grpc.MaxHeaderListSize(16<<10),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.StaticStreamWindowSize(calls.StreamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.InTapHandle(s.calls.Tap),
		grpc.WaitForHandlers(true),
	)
	g.RegisterService(calls.Service(), s)
	healthpb.RegisterHealthServer(calls.Registrar{Server: g}, s.health)
	reflection.Register(calls.Registrar{Server: g})
	return g
}
