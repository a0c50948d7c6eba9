package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory: what a bubble of virtual time can wait for.
type pipes struct {
	arrive chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.arrive:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9404} }

// dial connects; nobody need accept it, as when a server is full.
func (p *pipes) dial(t *testing.T) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	go func() {
		select {
		case p.arrive <- there:
		case <-p.closed:
			_ = there.Close()
		}
	}()
	return here
}

// ask sends a request, without waiting for an answer.
func ask(t *testing.T, c net.Conn, path string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
}

// served runs Serve in the bubble; the result of stop is what it returned.
func served(t *testing.T, h http.Handler) (p *pipes, stop func() error) {
	t.Helper()
	p = newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, p, h, nil) }()
	return p, func() error {
		cancel()
		return <-ended
	}
}

// next reads the data of the next event.
func next(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return strings.TrimSpace(data)
		}
	}
}

func TestEventsCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		e := newEvents(func() []byte { return fmt.Appendf(nil, `{"n":%d}`, reads.Add(1)) })
		p, stop := served(t, e)
		c := p.dial(t)
		defer c.Close()
		ask(t, c, "/api/events")
		r := bufio.NewReader(c)
		began := time.Now()
		for n := 1; n <= 3; n++ {
			if got, want := next(t, r), fmt.Sprintf(`{"n":%d}`, n); got != want {
				t.Errorf("event %d is %s", n, got)
			}
		}
		if took := time.Since(began); took != 2*eventsEvery {
			t.Errorf("three events took %s", took)
		}
		_ = c.Close()
		synctest.Wait()
		before := reads.Load()
		time.Sleep(time.Minute)
		if now := reads.Load(); now > before+1 { // one event is written to who is gone, and fails
			t.Errorf("the state was read %d times when nobody looked", now-before)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A reader that does not read is dropped, and the others see every state meanwhile.
func TestASlowReaderIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		large := strings.Repeat("x", 300_000)
		e := newEvents(func() []byte { return fmt.Appendf(nil, `{"n":%d,"pad":%q}`, reads.Add(1), large) })
		p, stop := served(t, e)
		slow, good := p.dial(t), p.dial(t)
		defer slow.Close()
		defer good.Close()
		ask(t, slow, "/api/events") // and reads nothing
		ask(t, good, "/api/events")
		r := bufio.NewReader(good)
		for n := 1; n <= 20; n++ {
			if got := next(t, r); !strings.HasPrefix(got, fmt.Sprintf(`{"n":%d,`, n)) {
				t.Fatalf("event %d is %.20s", n, got)
			}
		}
		if n := open(e); n != 1 {
			t.Fatalf("%d streams are open after 20 s, of which one is not read", n)
		}
		if _, err := io.Copy(io.Discard, slow); err != nil { // what was on its way, and the end
			t.Errorf("the slow reader's connection: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Who reads slowly what is large is no slow reader: 4 MB through a tunnel of 400 KB a second come.
func TestALargeStateThroughAThinLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := strings.Repeat("x", 4<<20)
		e := newEvents(func() []byte { return []byte(large) })
		p, stop := served(t, e)
		c := p.dial(t)
		defer c.Close()
		ask(t, c, "/api/events")
		got, piece := 0, make([]byte, 40_000)
		for got < 2*len(large) {
			n, err := c.Read(piece)
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			got += n
			time.Sleep(time.Duration(n) * time.Second / 400_000)
		}
		_ = c.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func open(e *events) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.readers
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvents(func() []byte { return []byte("{}") })
		p, stop := served(t, e)
		var conns []net.Conn
		for range maxReaders {
			c := p.dial(t)
			conns = append(conns, c)
			ask(t, c, "/api/events")
			go io.Copy(io.Discard, c) //nolint:errcheck // until it is closed
		}
		synctest.Wait()
		c := p.dial(t)
		ask(t, c, "/api/events")
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.Contains(line, "503") {
			t.Errorf("one stream more: %q, %v", line, err)
		}
		_ = c.Close()
		_ = conns[0].Close()
		time.Sleep(10 * time.Second) // the next event cannot be written to it
		if n := open(e); n != maxReaders-1 {
			t.Errorf("%d streams are open when one has gone", n)
		}
		for _, c := range conns[1:] {
			_ = c.Close()
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A shutdown ends the streams, instead of waiting for them.
func TestShutdownEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvents(func() []byte { return []byte("{}") })
		p, stop := served(t, e)
		c := p.dial(t)
		defer c.Close()
		ask(t, c, "/api/events")
		go io.Copy(io.Discard, c) //nolint:errcheck // until it is closed
		synctest.Wait()
		began := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took >= shutdownGrace {
			t.Errorf("the shutdown took %s", took)
		}
		if n := open(e); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// Who says half of a request, or nothing, gives its place back.
func TestSilentCallersGiveTheirPlacesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := served(t, guarded())
		for _, said := range []string{"", "GET / HTTP/1.1\r\nHost: local", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nsome"} {
			c := p.dial(t)
			if _, err := io.WriteString(c, said); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, _ = io.Copy(io.Discard, c) // until the server closes it
			if took := time.Since(began); took > headerTimeout+2*time.Second {
				t.Errorf("%q held its place for %s", said, took)
			}
			_ = c.Close()
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Large states come less often.
func TestPause(t *testing.T) {
	for size, want := range map[int]time.Duration{0: time.Second, 1 << 19: time.Second, 3 << 20: 3 * time.Second} {
		if got := pause(size); got != want {
			t.Errorf("after %d bytes: %s, want %s", size, got, want)
		}
	}
}
