// Package sidecartest runs sidecars for tests: a real one in the process ([Start]), and a faulty
// one between a client and a real one ([NewFaulty]).
package sidecartest

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
)

// Sidecar is a sidecar that runs in this process.
type Sidecar struct {
	*sidecar.Server
	// Target is what a client dials: unix:///…, or empty if it serves a Listener.
	Target string

	t      testing.TB
	cfg    sidecar.Config
	cancel context.CancelFunc
	err    chan error
	ended  bool
}

// Start runs a sidecar against these brokers on a unix socket of its own, until the test ends or
// [Sidecar.Stop]. Change, if not nil, may set any field of the config first; with a Listener there
// is no Target, see [Bufconn].
func Start(t testing.TB, brokers []string, change func(*sidecar.Config)) *Sidecar {
	t.Helper()
	cfg := sidecar.Config{Brokers: brokers, Linger: -1, DrainTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	s := &Sidecar{t: t, cfg: cfg}
	if cfg.Listener == nil && cfg.Listen == "" {
		// Not t.TempDir(): a test's name may be longer than a socket's path.
		s.cfg.Listen = "unix://" + filepath.Join(shortDir(t), "s", "sidecar.sock")
	}
	if cfg.Listener == nil {
		s.Target = s.cfg.Listen
	}
	s.start()
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

func (s *Sidecar) start() {
	s.t.Helper()
	srv, err := sidecar.New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.Server, s.cancel, s.err, s.ended = srv, cancel, make(chan error, 1), false
	errs := s.err
	go func() { errs <- srv.Run(ctx) }()
	s.await(errs)
}

// await returns when the sidecar serves.
func (s *Sidecar) await(errs chan error) {
	s.t.Helper()
	select {
	case <-s.Server.Serving():
	case err := <-errs:
		select {
		case <-s.Server.Serving(): // and it has ended since
			errs <- err
			return
		default:
		}
		s.t.Fatalf("the sidecar ended: %v", err)
	case <-time.After(10 * time.Second):
		s.t.Fatal("the sidecar does not serve after 10 s")
	}
}

// Stop drains the sidecar, as SIGTERM does, and returns what Run returned. A second Stop returns
// nil.
func (s *Sidecar) Stop() error {
	s.cancel()
	if s.ended {
		return nil
	}
	s.ended = true
	return <-s.err
}

// Wait waits until the sidecar ends by itself, and returns what Run returned.
func (s *Sidecar) Wait() error {
	err := <-s.err
	s.ended = true
	s.cancel()
	return err
}

// Restart starts a new sidecar on the same socket, after stopping the old one. The new one knows
// nothing of the old one's sessions.
func (s *Sidecar) Restart() {
	s.t.Helper()
	_ = s.Stop()
	s.start()
}

// Bufconn returns an in-memory listener for Config.Listener and a connection through it, for tests
// in a synctest bubble. The connection ends with the test.
func Bufconn(t testing.TB) (net.Listener, *grpc.ClientConn) {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	conn, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec{})),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return lis, conn
}
