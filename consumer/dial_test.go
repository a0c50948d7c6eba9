package consumer

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
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
