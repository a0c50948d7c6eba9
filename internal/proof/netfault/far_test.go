package netfault

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

const roundTrip = 5 * time.Millisecond

// far connects both ends of a connection that is so far, and closes them in the end.
func far(t *testing.T) (here, there net.Conn) {
	t.Helper()
	near, there := net.Pipe()
	began := time.Now()
	dial := Far(roundTrip, func(context.Context, string, string) (net.Conn, error) { return near, nil })
	here, err := dial(t.Context(), "tcp", "far:9092")
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took != roundTrip {
		t.Errorf("connected after %s, want %s", took, roundTrip)
	}
	t.Cleanup(func() {
		here.Close()
		there.Close()
		time.Sleep(closing) // until its goroutines have ended
	})
	return here, there
}

// reflect sends back what comes, at once.
func reflect(c net.Conn) {
	buf := make([]byte, 1<<10)
	for {
		n, err := c.Read(buf)
		if _, wrong := c.Write(buf[:n]); err != nil || wrong != nil {
			return
		}
	}
}

// What is written comes back a round trip later, and as much later however much is on its way: 200
// requests, one each half millisecond, are answered as often.
func TestFarIsLongAndNotNarrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := far(t)
		go reflect(there)
		const n, each = 200, 500 * time.Microsecond
		sent := make(chan time.Time, n)
		go func() {
			for i := range n {
				sent <- time.Now()
				if _, err := here.Write([]byte{byte(i)}); err != nil {
					t.Error(err)
				}
				time.Sleep(each)
			}
		}()
		for i := range n {
			var one [1]byte
			if _, err := here.Read(one[:]); err != nil || one[0] != byte(i) {
				t.Fatalf("answer %d is %d: %v", i, one[0], err)
			}
			if took := time.Since(<-sent); took != roundTrip {
				t.Fatalf("answer %d came after %s, want %s", i, took, roundTrip)
			}
		}
	})
}

// Ten megabytes that are written at once arrive at once: the way has no width.
func TestFarHasNoWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := far(t)
		const size = 10 << 20
		began := time.Now()
		go func() {
			if _, err := here.Write(make([]byte, size)); err != nil {
				t.Error(err)
			}
		}()
		if _, err := io.ReadFull(there, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != roundTrip/2 {
			t.Errorf("arrived after %s, want %s", took, roundTrip/2)
		}
	})
}

// An end is told half a round trip later, in both directions, and after all that was written
// before.
func TestFarEnds(t *testing.T) {
	for _, name := range []string{"here", "there"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends, other := far(t)
				if name == "there" {
					ends, other = other, ends
				}
				if _, err := ends.Write([]byte("last")); err != nil {
					t.Fatal(err)
				}
				_ = ends.Close()
				began := time.Now()
				text, err := io.ReadAll(other)
				if took := time.Since(began); string(text) != "last" || err != nil || took != roundTrip/2 {
					t.Errorf("%q, %v after %s", text, err, took)
				}
			})
		})
	}
}

// Deadlines are of this end, and who stops dialing does not wait.
func TestFarObeysItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, _ := far(t)
		began := time.Now()
		_ = here.SetReadDeadline(began.Add(time.Second))
		if _, err := here.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Far(time.Hour, nil)(ctx, "tcp", "far:9092"); !errors.Is(err, context.Canceled) {
			t.Errorf("dialed: %v", err)
		}
	})
}
