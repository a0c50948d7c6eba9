package gate

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
		"expired":               {expires: 5 * time.Second, pause: 6 * time.Second, want: ErrShut},
		"expired and finished":  {expires: 5 * time.Second, pause: 6 * time.Second, left: true},
		"not expired":           {expires: 10 * time.Second, pause: 6 * time.Second},
		"expired, no pause":     {expires: time.Millisecond, pause: 900 * time.Millisecond},
		"nothing that expires":  {pause: time.Hour},
		"a long pause, expired": {expires: time.Second, pause: 24 * time.Hour, want: ErrShut},
	} {
		t.Run(name, func(t *testing.T) {
			told := 0
			g := New(func(stoodStill time.Duration) {
				if told++; stoodStill != c.pause {
					t.Errorf("it stood still for %v, told %v", c.pause, stoodStill)
				}
			})
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
			conn, err := g.Dialer(func(context.Context, string, string) (net.Conn, error) { return ours, nil })(t.Context(), "tcp", "b:1")
			if err != nil {
				t.Fatal(err)
			}
			e := new(Expiry)
			if c.expires > 0 {
				e.At = now + uint64(c.expires)
			}
			g.Enter(e)
			if c.left {
				g.Leave(e)
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
			if g.Waiting() != 0 && c.left {
				t.Error("what is finished is kept")
			}
			if (told == 1) != (c.want != nil) {
				t.Errorf("told %d times that it shut", told)
			}
		})
	}
}
