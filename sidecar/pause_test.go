package sidecar

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/boottime"
)

// A process that stood still until units that it had begun with expired sends no byte any more; one
// that stood still without such units goes on, and so does one that was only slow (fault 5).
func TestPausedSidecarSendsNothingLate(t *testing.T) {
	now := uint64(time.Hour)
	defer boottime.Replace(func() uint64 { return now })()
	for name, c := range map[string]struct {
		expires, pause time.Duration
		left           bool
		want           error
	}{
		"expired":               {expires: 5 * time.Second, pause: 6 * time.Second, want: ErrPaused},
		"expired and finished":  {expires: 5 * time.Second, pause: 6 * time.Second, left: true},
		"not expired":           {expires: 10 * time.Second, pause: 6 * time.Second},
		"expired, no pause":     {expires: time.Millisecond, pause: 900 * time.Millisecond},
		"nothing that expires":  {pause: time.Hour},
		"a long pause, expired": {expires: time.Second, pause: 24 * time.Hour, want: ErrPaused},
	} {
		t.Run(name, func(t *testing.T) {
			s := idle(t)
			ours, theirs := net.Pipe()
			defer func() { _, _ = ours.Close(), theirs.Close() }()
			go func() {
				b := make([]byte, 10)
				for {
					if _, err := theirs.Read(b); err != nil {
						return
					}
				}
			}()
			conn, err := s.gate.dialer(func(context.Context, string, string) (net.Conn, error) { return ours, nil })(t.Context(), "tcp", "b:1")
			if err != nil {
				t.Fatal(err)
			}
			f := newFrame(s.testSession(t))
			if f.expires = 0; c.expires > 0 {
				f.expires = now + uint64(c.expires)
			}
			s.gate.enter(f)
			if c.left {
				s.gate.leave(f)
			}
			if _, err := conn.Write([]byte("before")); err != nil {
				t.Fatal(err)
			}
			now += uint64(c.pause)
			for range 2 {
				if _, err := conn.Write([]byte("after")); !errors.Is(err, c.want) {
					t.Errorf("a write after the pause: %v, want %v", err, c.want)
				}
			}
			if len(s.gate.expire) != 0 && c.left {
				t.Error("a finished frame is kept")
			}
		})
	}
}
