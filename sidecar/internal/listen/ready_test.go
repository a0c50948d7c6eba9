//go:build unix && !portable

package listen

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// counted is a pool that knows how many of its buffers are out.
type counted struct{ taken, out atomic.Int64 }

func (p *counted) Get(size int) *[]byte {
	p.taken.Add(1)
	p.out.Add(1)
	b := make([]byte, size)
	return &b
}

func (p *counted) Put(*[]byte) { p.out.Add(-1) }

// dialed are both ends of a connection that is accepted.
func dialed(t *testing.T, network, address string) (near net.Conn, far *Conn) {
	t.Helper()
	lis, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	if near, err = net.Dial(network, lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	conn, err := Limit(lis, 1, func(uint64) {}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return near, conn.(*Conn)
}

// A connection that waits has no buffer: a session that rests costs none.
func TestWhoWaitsKeepsNoBuffer(t *testing.T) {
	for _, at := range [][2]string{{"unix", filepath.Join(t.TempDir(), "s")}, {"tcp", "127.0.0.1:0"}} {
		t.Run(at[0], func(t *testing.T) {
			near, far := dialed(t, at[0], at[1])
			var pool counted
			type read struct {
				text string
				err  error
			}
			reads := make(chan read)
			go func() {
				for {
					buf, n, err := far.ReadOnReady(32<<10, &pool)
					r := read{err: err}
					if buf != nil {
						r.text = string((*buf)[:n])
						pool.Put(buf)
					}
					if reads <- r; err != nil {
						return
					}
				}
			}()
			for i, text := range []string{"a frame", "and one more"} {
				tries := int64(1 + 2*i) // one finds nothing, and one what comes then
				for deadline := time.Now().Add(10 * time.Second); pool.taken.Load() < tries || pool.out.Load() != 0; runtime.Gosched() {
					if time.Now().After(deadline) {
						t.Fatalf("%d buffers are kept by a connection that waits", pool.out.Load())
					}
				}
				if _, err := near.Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
				if r := <-reads; r.err != nil || r.text != text {
					t.Fatalf("read %q, %v, want %q", r.text, r.err, text)
				}
			}
			_ = near.Close()
			if r := <-reads; !errors.Is(r.err, io.EOF) || !far.Gone() {
				t.Errorf("after the end: %v, gone %v", r.err, far.Gone())
			}
			if n := pool.out.Load(); n != 0 {
				t.Errorf("%d buffers are kept after the end", n)
			}
		})
	}
}

// A connection that is closed by us ends the wait, as does a deadline; neither is the peer's end.
func TestAWaitIsEnded(t *testing.T) {
	for name, end := range map[string]func(*Conn) error{
		"closed":   func(c *Conn) error { return c.Close() },
		"deadline": func(c *Conn) error { return c.SetReadDeadline(time.Unix(1, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			_, far := dialed(t, "unix", filepath.Join(t.TempDir(), "s"))
			var pool counted
			ended := make(chan error)
			go func() {
				_, _, err := far.ReadOnReady(32<<10, &pool)
				ended <- err
			}()
			for pool.taken.Load() == 0 {
				runtime.Gosched()
			}
			if err := end(far); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the wait ended with %v", err)
			}
			if n := pool.out.Load(); n != 0 {
				t.Errorf("%d buffers are kept", n)
			}
		})
	}
}

// What is no socket of the kernel is read all the same.
func TestAPipeIsRead(t *testing.T) {
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close() })
	var open atomic.Int64
	c := &Conn{Conn: far, open: &open, ready: readinessOf(far)}
	go func() {
		_, _ = near.Write([]byte("a frame"))
		_ = near.Close()
	}()
	var pool counted
	buf, n, err := c.ReadOnReady(64, &pool)
	if err != nil || string((*buf)[:n]) != "a frame" {
		t.Fatalf("%d bytes, %v", n, err)
	}
	pool.Put(buf)
	if _, _, err := c.ReadOnReady(64, &pool); !errors.Is(err, io.EOF) || !c.Gone() {
		t.Errorf("after the end: %v", err)
	}
	if n := pool.out.Load(); n != 0 {
		t.Errorf("%d buffers are kept", n)
	}
}
