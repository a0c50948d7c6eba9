package sidecar_test

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// wantReady fails the test unless readiness is that; liveness stays.
func (b *bubble) wantReady(t *testing.T, when string, ready bool) {
	t.Helper()
	want := healthpb.HealthCheckResponse_NOT_SERVING
	if ready {
		want = healthpb.HealthCheckResponse_SERVING
	}
	if got := b.health(t, "readiness"); got != want {
		t.Errorf("%s: readiness is %v", when, got)
	}
	if got := b.health(t, "liveness"); got != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%s: liveness is %v", when, got)
	}
}

// another starts a sidecar beside the bubble's, and is its bubble from then on.
func (b *bubble) another(t *testing.T, change func(*sidecar.Config)) {
	t.Helper()
	lis, conn := sidecartest.Bufconn(t)
	b.conn = conn
	b.sc = sidecartest.Start(t, b.kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Listener, c.Options, c.Logger = lis, []kgo.Opt{kgo.Dialer(b.net.DialContext)}, slog.New(slog.DiscardHandler)
		change(c)
	})
}

// A sidecar whose transactional ids cannot be taken is not ready, and a client that would be
// exactly-once hears what it waits for. When they are taken, it is ready at once.
func TestNotReadyWhileTheIDsAreNotTaken(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		var away atomic.Bool
		away.Store(true)
		b.kafka.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			if !away.Load() {
				return nil, nil, false
			}
			resp := kreq.ResponseKind().(*kmsg.InitProducerIDResponse)
			resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
			return resp, nil, true
		})
		b.another(t, func(c *sidecar.Config) { c.TransactionalID = "pod-0" })
		for range 3 {
			m := openStream(t, b.conn)
			m.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{exactlyOnce}}))
			err := m.until(func() bool { return m.welcome != nil })
			if st, _ := status.FromError(err); st.Code() != codes.Unavailable || !strings.Contains(st.Message(), `transactional id "pod-0" is not taken yet`) {
				t.Errorf("Hello is answered with %v", err)
			}
		}
		b.wantReady(t, "while the ids are not taken", false)
		away.Store(false)
		b.mortal(t, "s", "", exactlyOnce)
		time.Sleep(time.Millisecond)
		b.wantReady(t, "when they are", true)
	})
}

// Readiness does not follow the outcome of each transaction, but goes off when nothing is committed
// for longer than one may take.
func TestNotReadyWhileNothingIsCommitted(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		_, let := b.held(kmsg.EndTxn)
		m.units(from(0, 1, 2)...)
		for range 14 {
			time.Sleep(time.Second)
			b.wantReady(t, "while one takes its time", true)
		}
		time.Sleep(3 * time.Second)
		b.wantReady(t, "after 17 s", false)
		let()
		m.reported(3)
		time.Sleep(2 * time.Second)
		b.wantReady(t, "when it is committed", true)
	})
}
