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
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/ackmark/ackmark/internal/lifecycle"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/brokers"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/gate"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Server is a sidecar. Make it with New, run it once.
type Server struct {
	cfg      Config
	times    *times
	rules    *peer.Rules // nil: who may connect is not ours to say
	reloads  reloads
	log      *slog.Logger
	life     lifecycle.Life
	identity *identity
	drain    *draining
	health   *health.Server
	serving  chan struct{} // closed when it is
	calls    *calls.Table

	brokers  *brokers.Brokers
	gate     *gate.Gate
	sink     *sink
	apps     *apps.Apps
	sessions *table
	wills    *wills
	service  *service
	metrics  *metrics

	transactions *transactions // nil: there are none
}

// identity is what a sidecar says of itself.
type identity struct {
	id, version string
	started     time.Time
}

var (
	// ErrClosed is returned by Run after Close, also if it has run before.
	ErrClosed = errors.New("sidecar: closed")
	// ErrAlreadyRun is returned by a second Run: a sidecar runs once.
	ErrAlreadyRun = errors.New("sidecar: Run was called before: a Server runs once, make a new one with New")
)

// New checks the configuration; it does not connect: see Check and Run. The errors are
// *ConfigError, joined where several fields or options are wrong.
func New(cfg Config) (*Server, error) {
	raw := cfg
	cfg = cfg.WithDefaults()
	if err := raw.Validate(); err != nil {
		return nil, err
	}
	if cfg.Partitioner == nil {
		cfg.Partitioner = kgo.StickyKeyPartitioner(nil)
	}
	s := &Server{
		cfg: cfg, times: newTimes(&cfg), rules: cfg.rules(), reloads: reloads{start: raw}, log: cfg.Logger, identity: &identity{newID(), cfg.Version, time.Now()}, drain: newDraining(), health: health.NewServer(), serving: make(chan struct{}),
		calls: calls.New(calls.Limits{Sessions: cfg.MaxSessions, Apps: len(cfg.Apps), Bytes: cfg.MaxBytes, MessageBytes: cfg.MaxMessageBytes}),
	}
	s.metrics = newMetrics(&cfg)
	s.brokers = brokers.New(cfg.Brokers)
	s.gate = gate.New(s.pause)
	out, pace, err := newOutlet(&s.cfg, s.brokers, s.metrics.kafka, s.gate)
	if err != nil {
		return nil, fmt.Errorf("sidecar: Kafka client: %w", err)
	}
	s.brokers.Use(out.Client())
	s.sink = newSink(&s.cfg, out, pace, s.gate, s.metrics)
	s.apps = apps.New(s.cfg.apps(s.metrics.flows.App))
	s.sessions = newTable(&s.cfg, s.apps)
	s.wills = newWills(&s.cfg, s.times, s.sessions, s.brokers, s.sink.watch, s.metrics)
	if s.transactions, err = newTransactions(&s.cfg, s.brokers, s.metrics, s.sessions.told, s.halt); err != nil {
		s.sink.outlet.Close()
		return nil, fmt.Errorf("sidecar: Kafka client of the transactions: %w", err)
	}
	s.service = newService(s)
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
	ctx, err := s.life.Begin(ctx)
	switch {
	case err != nil && s.life.Closing():
		return ErrClosed
	case err != nil:
		return ErrAlreadyRun
	}
	defer s.life.End(nil)
	defer storm.End(s.cfg.Logger)
	defer s.sink.outlet.Close()
	defer s.sink.pace.Close()
	defer s.transactions.close()
	lis, err := s.cfg.listen()
	if err != nil {
		return err
	}
	if s.sessions.state, err = openState(&s.cfg); err != nil {
		_ = lis.Close()
		return err
	}
	defer s.sessions.state.close()
	s.reloads.listenOn(lis)
	return s.serve(ctx, lis)
}

func (s *Server) serve(ctx context.Context, lis net.Listener) error {
	g := s.newGRPC()
	if err := s.restore(); err != nil {
		_ = lis.Close()
		return err
	}
	defer s.observe()()
	s.transactions.start()
	var background sync.WaitGroup
	failed := make(chan error, 1)
	background.Go(func() { failed <- g.Serve(lis) })
	watchCtx, stopWatch := context.WithCancel(context.Background())
	background.Go(func() { s.brokers.Watch(watchCtx, s.sink.flows.Acked, s.checked) })
	background.Go(func() { s.watchTransactions(watchCtx) })
	background.Go(func() { s.gate.Beat(watchCtx) })
	background.Go(func() { s.sessions.rewrite(watchCtx) })
	background.Go(func() { s.sessions.watchRest(watchCtx) })
	s.log.Info("sidecar serving", "listen", lis.Addr().String(), "brokers", s.cfg.Brokers, "sidecar_id", s.identity.id, "version", s.identity.version)
	close(s.serving)

	var err error
	select {
	case <-ctx.Done():
		if err = context.Cause(ctx); !stopsAtOnce(err) {
			err = s.drainAll(g)
		}
	case err = <-failed:
		err = fmt.Errorf("sidecar: listener %s: %w", lis.Addr(), err)
	}
	g.Stop()
	s.wills.stop()
	for _, sess := range s.sessions.all() {
		s.sessions.close(sess, errStopped)
	}
	s.wills.waiting.Wait()
	stopWatch()
	background.Wait()
	s.service.receivers.Wait()
	return err
}

// Serving is closed when Run listens: who connects is answered.
func (s *Server) Serving() <-chan struct{} { return s.serving }

// Close ends Run as the end of its context does, and waits for it; without Run it releases the
// Kafka client. A second Close does nothing.
func (s *Server) Close() error {
	if first, _ := s.life.Close(ErrClosed); first {
		s.wills.stop()
		s.transactions.close()
		s.sink.outlet.Close()
	}
	return nil
}

// Status tells what the sidecar is doing, as its Status call does, and with the sessions' and
// members' own ids, which only this process is told.
func (s *Server) Status(ctx context.Context) (*sidecarpb.StatusResponse, error) {
	return s.service.Status(ctx, &sidecarpb.StatusRequest{State: true})
}

// keepalive: a peer that is gone without a word is noticed after 10 s (fault 10).
const (
	keepaliveTime    = 6 * time.Second
	keepaliveTimeout = 4 * time.Second
	streamsPerConn   = 1024
	connWindow       = 4 << 20
)

func (s *Server) refuse(p peer.Info) {
	s.apps.Refusals.Note(p, "", apps.RefusedUser, "it may not connect: add it to AllowUIDs or AllowGIDs")
}

func (s *Server) newGRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(s.cfg.credentials(s.rules, s.refuse)),
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
	g.RegisterService(calls.Service(), s.service)
	healthpb.RegisterHealthServer(calls.Registrar{Server: g}, s.health)
	reflection.Register(calls.Registrar{Server: g})
	return g
}
