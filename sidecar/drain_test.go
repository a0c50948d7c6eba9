package sidecar_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func (b *bubble) health(t *testing.T, service string) healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	resp, err := healthpb.NewHealthClient(b.conn).Check(context.Background(), &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetStatus()
}

func TestDrainDeliversAndReportsWhatWasAccepted(t *testing.T) {
	inBubble(t, small, func(t *testing.T, b *bubble) {
		stuck := b.stick(0)
		c := hello(t, b.conn, "s")
		c.units(to(0, 30, 10)...)
		queued, err := sidecarpb.NewSidecarClient(b.conn).Emit(context.Background(), &sidecarpb.EmitRequest{App: "app", Wait: sidecarpb.Wait_WAIT_QUEUED, Record: &sidecarpb.Record{Topic: "out", Partition: new(int32(0))}})
		if err != nil || !queued.GetSuccess() {
			t.Fatal(queued, err)
		}
		time.Sleep(time.Second)
		stopped := make(chan error, 1)
		go func() { stopped <- b.sc.Stop() }()
		if err := c.until(func() bool { return c.draining }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := b.health(t, ""); got != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("health %v while draining", got)
		}
		if got := b.health(t, "liveness"); got != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("liveness %v while draining", got)
		}
		// What comes now was not received: it is neither produced nor reported.
		c.units(to(1, 5, 10)...)
		resp, err := sidecarpb.NewSidecarClient(b.conn).Emit(context.Background(), &sidecarpb.EmitRequest{Record: &sidecarpb.Record{Topic: "out"}})
		if err != nil || resp.GetError().GetCode() != wire.CodeDraining || !resp.GetError().GetRetryable() {
			t.Errorf("emit while draining: %v, %v", resp, err)
		}
		late := openStream(t, b.conn)
		late.ends(codes.Unavailable, "DRAINING")
		stuck.Remove()
		c.ends(codes.Unavailable, "DRAINING")
		if len(c.acked) != 30 {
			t.Errorf("%d of 30 reported before the end", len(c.acked))
		}
		if err := <-stopped; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestDrainDeadlineNamesWhatIsLeft(t *testing.T) {
	inBubble(t, func(c *sidecar.Config) { small(c); c.DrainTimeout = 7 * time.Second }, func(t *testing.T, b *bubble) {
		b.stick(0)
		c := hello(t, b.conn, "s")
		c.units(to(0, 30, 10)...)
		c.units(to(1, 3, 10)...)
		c.reported(3)
		began := time.Now()
		err := b.sc.Stop()
		u, ok := errors.AsType[*sidecar.UndeliveredError](err)
		if !ok || u.Records != 30 || u.Topics["out"] != 30 || u.Emits != 0 {
			t.Fatalf("Run returned %v", err)
		}
		if took := time.Since(began); took < 7*time.Second || took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if len(c.acked) != 3 || len(c.failed) != 0 {
			t.Errorf("acked %v, failed %v: what was not delivered is not reported", c.acked, c.failed)
		}
	})
}

func TestLifecycle(t *testing.T) {
	cfg := sidecar.Config{Brokers: []string{"127.0.0.1:1"}, Listen: "unix://" + t.TempDir() + "/s/x.sock"}
	closed, err := sidecar.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(closed.Close(), closed.Close()); err != nil {
		t.Errorf("Close before Run: %v", err)
	}
	if err := closed.Run(context.Background()); !errors.Is(err, sidecar.ErrClosed) {
		t.Errorf("Run after Close: %v", err)
	}
	s, err := sidecar.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run with an ended context: %v", err)
	}
	if err := s.Run(context.Background()); !errors.Is(err, sidecar.ErrAlreadyRun) {
		t.Errorf("second Run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close after Run: %v", err)
	}
	if err := s.Run(context.Background()); !errors.Is(err, sidecar.ErrClosed) {
		t.Errorf("Run after Run and Close: %v", err)
	}
}
