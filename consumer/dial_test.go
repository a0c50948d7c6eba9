package consumer

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// shut is a network whose hosts can refuse everything, as brokers do that restart.
type shut struct {
	dial  dialFunc
	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (s *shut) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	conn, err := s.dial(ctx, network, addr)
	if err == nil {
		s.conns = append(s.conns, conn)
	}
	return conn, err
}

func (s *shut) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// Brokers that refuse connections for less than a session take nothing away: no assignment ends, no
// input is handed out again (fault 8).
func TestRefusedConnectionsKeepTheMembership(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		s := &shut{dial: l.net.DialContext}
		cfg := l.config()
		cfg.Options = append(cfg.Options, kgo.Dialer(s.DialContext))
		h := &holder{}
		m := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 10 })
		s.set(true)
		time.Sleep(6 * time.Second)
		s.set(false)
		time.Sleep(20 * time.Second)
		for _, msg := range h.messages() {
			msg.Done(nil)
		}
		l.untilCommitted(0, 10)
		if n := len(h.messages()); n != 10 {
			t.Errorf("%d inputs were handed out, want each of 10 once", n)
		}
		wantNil(t, m.stop())
	})
}

// A wrong address is told at once: nothing was reached yet.
func TestRefusedAtTheStart(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		s := &shut{dial: l.net.DialContext, down: true}
		cfg := l.config()
		cfg.Options = append(cfg.Options, kgo.Dialer(s.DialContext))
		m := l.start(cfg, nil)
		begun := time.Now()
		err := m.Check(t.Context())
		if err == nil || time.Since(begun) > time.Second {
			t.Errorf("Check returned %v after %v, want the refusal at once", err, time.Since(begun))
		}
		_ = m.stop()
	})
}

// A broker that refuses again and again does so after a pause, each time until it is back: kgo asks
// without one while a session of the consumer protocol cannot begin.
func TestRefusalsInARowTakeTime(t *testing.T) {
	for what, cause := range map[string]error{
		"refused":      os.NewSyscallError("connect", syscall.ECONNREFUSED),
		"without name": &net.DNSError{Err: "no such host", Name: "broker-1", IsNotFound: true},
	} {
		t.Run(what, func(t *testing.T) { testRefusalsInARow(t, cause) })
	}
}

func testRefusalsInARow(t *testing.T, cause error) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		b := &brokers{}
		b.connected.Store(true)
		dial := b.patient(func(context.Context, string, string) (net.Conn, error) {
			if down {
				return nil, &net.OpError{Op: "dial", Err: cause}
			}
			return nil, nil
		})
		begun := time.Now()
		for range freeRefusals {
			_, _ = dial(t.Context(), "tcp", "broker-1:9092")
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("the first refusals took %v", took)
		}
		for range 100 {
			_, _ = dial(t.Context(), "tcp", "broker-1:9092")
		}
		if took := time.Since(begun); took < 15*time.Second || took > 20*time.Second {
			t.Errorf("100 refusals more took %v", took)
		}
		begun = time.Now()
		_, _ = dial(t.Context(), "tcp", "broker-2:9092")
		down = false
		_, _ = dial(t.Context(), "tcp", "broker-1:9092")
		down = true
		_, _ = dial(t.Context(), "tcp", "broker-1:9092")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 10 {
			_, _ = dial(ended, "tcp", "broker-1:9092")
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("another broker, one that is back, and a caller that has gone waited for %v", took)
		}
	})
}
