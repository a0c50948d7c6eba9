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
	log      *slog.Logger
	life     lifecycle.Life
	identity *identity
	drain    *draining
	health   *health.Server
	calls    *calls.Table

	brokers  *brokers.Brokers
	gate     *gate.Gate
	sink     *sink
	apps     *apps.Apps
	sessions *table
	wills    *wills
	service  *service
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
	cfg = cfg.WithDefaults()
	if err := errors.Join(cfg.validate(), checkOptions(cfg.Options)); err != nil {
		return nil, err
	}
	if cfg.Partitioner == nil {
		cfg.Partitioner = kgo.StickyKeyPartitioner(nil)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, identity: &identity{newID(), cfg.Version, time.Now()}, drain: newDraining(), health: health.NewServer(),
		calls: calls.New(calls.Limits{Sessions: cfg.MaxSessions, Apps: len(cfg.Apps), Bytes: cfg.MaxBytes, MessageBytes: cfg.MaxMessageBytes}),
	}
	s.brokers = brokers.New(cfg.Brokers)
	s.gate = gate.New(s.pause)
	out, err := newOutlet(&s.cfg, s.brokers, s.gate)
	if err != nil {
		return nil, fmt.Errorf("sidecar: Kafka client: %w", err)
	}
	s.brokers.Use(out.Client())
	s.sink = newSink(&s.cfg, out, s.gate)
	s.apps = apps.New(s.cfg.apps())
	s.sessions = newTable(&s.cfg, s.apps)
	s.wills = newWills(&s.cfg, s.sessions, s.brokers)
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
	defer s.sink.outlet.Close()
	lis, err := s.cfg.listen()
	if err != nil {
		return err
	}
	return s.serve(ctx, lis)
}

func (s *Server) serve(ctx context.Context, lis net.Listener) error {
	g := s.newGRPC()
	var background sync.WaitGroup
	failed := make(chan error, 1)
	background.Go(func() { failed <- g.Serve(lis) })
	watchCtx, stopWatch := context.WithCancel(context.Background())
	background.Go(func() { s.brokers.Watch(watchCtx, s.sink.recordsAcked.Load, s.checked) })
	background.Go(func() { s.gate.Beat(watchCtx) })
	s.log.Info("sidecar serving", "listen", lis.Addr().String(), "brokers", s.cfg.Brokers, "sidecar_id", s.identity.id, "version", s.identity.version)

	var err error
	select {
	case <-ctx.Done():
		if err = context.Cause(ctx); !errors.Is(err, ErrPaused) {
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

// Close ends Run as the end of its context does, and waits for it; without Run it releases the
// Kafka client. A second Close does nothing.
func (s *Server) Close() error {
	if first, _ := s.life.Close(ErrClosed); first {
		s.wills.stop()
		s.sink.outlet.Close()
	}
	return nil
}

// Status tells what the sidecar is doing, as its Status call does, and with the sessions' and
// members' own ids, which only this process is told.
func (s *Server) Status(ctx context.Context) (*sidecarpb.StatusResponse, error) {
	return s.service.Status(ctx, nil)
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
		grpc.Creds(s.cfg.credentials(s.refuse)),
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
