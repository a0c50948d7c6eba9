package producer_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A refusal that no retry can change is remembered: nothing hangs, the error says which versions
// met.
func TestClientRefusedForGood(t *testing.T) {
	for _, c := range []struct {
		name  string
		hello func(*sidecarpb.Hello) (*sidecarpb.Welcome, error)
		code  string
		want  []string
	}{
		{"older client", func(*sidecarpb.Hello) (*sidecarpb.Welcome, error) {
			return nil, status.Error(codes.FailedPrecondition, "sidecar 2.3.0 speaks protocol version 2")
		}, producer.CodeVersionMismatch, []string{"protocol version 1", "2.3.0 speaks protocol version 2", "same major version"}},
		{"newer sidecar", func(*sidecarpb.Hello) (*sidecarpb.Welcome, error) {
			return &sidecarpb.Welcome{Version: 3, ServerVersion: "3.0.0"}, nil
		}, producer.CodeVersionMismatch, []string{"protocol version 1", "version 3", "3.0.0"}},
		{"token", func(h *sidecarpb.Hello) (*sidecarpb.Welcome, error) {
			return nil, status.Error(codes.Unauthenticated, "wrong token")
		}, producer.CodeUnauthorized, []string{"wrong token", `app "test"`, "DialConfig.App"}},
		{"not listed", func(h *sidecarpb.Hello) (*sidecarpb.Welcome, error) {
			return nil, status.Error(codes.PermissionDenied, "APP_NOT_ALLOWED: not in the list")
		}, producer.CodeUnauthorized, []string{"not in the list", `app "test"`, "DialConfig.App"}},
		{"bad app name", func(h *sidecarpb.Hello) (*sidecarpb.Welcome, error) {
			return nil, status.Error(codes.InvalidArgument, "app: use letters")
		}, producer.CodeInvalidConfig, []string{"use letters", "script"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(x *script) { x.hello = c.hello }, func(t *testing.T, x *script, p producer.Producer) {
				early := producertest.NewRecorder(2) // taken before the refusal is known
				if err := p.Deliver(t.Context(), numbered(2), early); err != nil {
					t.Fatal(err)
				}
				wait(t, early)
				check := func(what string, err error) {
					var pe *producer.Error
					if !errors.As(err, &pe) || pe.Code != c.code || pe.Retryable {
						t.Fatalf("%s returned %v, want %s, not retryable", what, err, c.code)
					}
					for _, w := range c.want {
						if !strings.Contains(err.Error(), w) {
							t.Errorf("%s: the error does not say %q: %v", what, w, err)
						}
					}
				}
				check("the unit's report", early.Fates()[1].Err)
				check("Check", p.Check(t.Context()))
				check("Deliver", p.Deliver(t.Context(), numbered(1), producertest.NewRecorder(1)))
				_, err := p.Emit(t.Context(), record1("k", "v"))
				check("Emit", err)
				if err := p.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		})
	}
}

// frozen is a connection whose peer has stopped: writes go nowhere, reads wait.
type frozen struct {
	net.Conn
	mu     sync.Mutex
	thawed chan struct{} // not nil: frozen
}

func (f *frozen) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	f.mu.Lock()
	thawed := f.thawed
	f.mu.Unlock()
	if thawed != nil {
		<-thawed
		return 0, net.ErrClosed
	}
	return n, err
}

func (f *frozen) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.thawed != nil {
		return len(b), nil
	}
	return f.Conn.Write(b)
}

func (f *frozen) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.thawed = make(chan struct{})
}

func (f *frozen) Close() error {
	f.mu.Lock()
	if f.thawed != nil {
		close(f.thawed)
		f.thawed = nil
	}
	f.mu.Unlock()
	return f.Conn.Close()
}

// A peer that hangs without breaking the connection is noticed within ten seconds, and what it had
// is sent to its successor.
func TestClientStuckPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newScript(t)
		x.start()
		defer x.stop()
		var mu sync.Mutex
		var conns []*frozen
		cfg := x.config()
		cfg.Dialer = func(ctx context.Context) (net.Conn, error) {
			conn, err := x.dial(ctx)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, &frozen{Conn: conn})
			return conns[len(conns)-1], nil
		}
		p := cfg.New()
		defer p.Close()
		mustBeAcked(t, deliver(t, p, numbered(5)...))
		time.Sleep(time.Hour) // a quiet peer that lives is left alone
		synctest.Wait()
		if len(conns) != 1 {
			t.Fatalf("a quiet stream was given up: %d connections", len(conns))
		}
		conns[0].freeze()
		begin := time.Now()
		mustBeAcked(t, deliver(t, p, numbered(5)...))
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("the stuck peer was noticed after %v", d)
		}
	})
}

// asked is a sidecar that notes with what deadlines it is asked for a sign of life.
type asked struct {
	healthpb.UnimplementedHealthServer
	calls, deadlines atomic.Int64
}

func (a *asked) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	a.calls.Add(1)
	if _, has := ctx.Deadline(); has {
		a.deadlines.Add(1)
	}
	return new(healthpb.HealthCheckResponse), nil
}

// A client that does nothing asks for a sign of life in the same words each time: a deadline would
// be another header each time, and both sides keep the last 4 KiB of those for each connection.
func TestClientAsksInTheSameWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, x := new(asked), newScript(t)
		x.health = a
		x.start()
		defer x.stop()
		p := x.config().New()
		defer p.Close()
		mustBeAcked(t, deliver(t, p, numbered(1)...))
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls, deadlines := a.calls.Load(), a.deadlines.Load(); calls < 10 || deadlines > 0 {
			t.Errorf("asked %d times in a minute, %d times with a deadline", calls, deadlines)
		}
	})
}

// Without a sidecar, units wait and contexts are respected; everything arrives when there is one.
// The reasons are in Check.
func TestClientWaitsForTheSidecar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newScript(t)
		cfg := x.config()
		cfg.MaxBufferedRecords = 20
		p := cfg.New()
		defer p.Close()
		r := deliver(t, p, numbered(15)...)
		if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "no sidecar at script") {
			t.Errorf("Check without a sidecar: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Deliver(ctx, numbered(10), producertest.NewRecorder(10)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Deliver into a full buffer: %v", err)
		}
		x.start()
		defer x.stop()
		mustBeAcked(t, r)
		if err := p.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
	})
}

// The largest message is the sidecar's decision: larger units fail, also those that were taken
// before it was known, and the others go on.
func TestClientUnitLargerThanAMessage(t *testing.T) {
	bubble(t, func(x *script) {
		x.hello = func(*sidecarpb.Hello) (*sidecarpb.Welcome, error) {
			return &sidecarpb.Welcome{Version: 1, MaxMessageBytes: 5000, Credit: &sidecarpb.Credit{Bytes: 1 << 20, Records: 1000}}, nil
		}
		x.units = func(s *session, u *sidecarpb.Units) error {
			s.writeAndAck(u)
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		for _, when := range []string{"before", "after"} {
			units := numbered(100) // together more than a message
			units[3].Outputs[0].Value = make([]byte, 6000)
			r := deliver(t, p, units...)
			wait(t, r)
			for i, f := range r.Fates() {
				if i == 3 && (f.Err == nil || f.Err.Code != "MESSAGE_TOO_LARGE") || i != 3 && f.Err != nil {
					t.Errorf("%s Welcome: unit %d: %v", when, i, f.Err)
				}
			}
		}
	})
}

// A credit that shrinks to almost nothing and grows again is kept at every moment; the script
// counts.
func TestClientCreditShrinks(t *testing.T) {
	bubble(t, func(x *script) {
		x.credit = &sidecarpb.Credit{Bytes: 2000, Records: 20}
		n := 0
		x.units = func(s *session, u *sidecarpb.Units) error {
			n++
			s.setCredit(uint64(100+n*37%900), uint64(1+n%5))
			for _, unit := range u.GetUnits() {
				s.write(unit)
			}
			time.AfterFunc(10*time.Millisecond, func() { s.acked(u.GetFirstSequence(), uint64(len(u.GetUnits()))) })
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		r := deliver(t, p, numbered(500)...)
		mustBeAcked(t, r)
		for i, rec := range x.records("t") {
			if string(rec.Value) != strconv.Itoa(i) {
				t.Fatalf("position %d has %s", i, rec.Value)
			}
		}
	})
}
