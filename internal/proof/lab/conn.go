package lab

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is one end of a connection: two streams, crossed at the other end.
type conn struct {
	host          *host
	in, out       *stream
	local, remote addr
}

func pair(l *link, from, service *host, to string) (near, far *conn) {
	up, back := newStream(l, true, from, service), newStream(l, false, service, from)
	return &conn{from, back, up, addr(from.name), addr(to)}, &conn{service, up, back, addr(to), addr(from.name)}
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *conn) LocalAddr() net.Addr         { return c.local }
func (c *conn) RemoteAddr() net.Addr        { return c.remote }

func (c *conn) Close() error {
	if c.host.closesLater(c) {
		return nil
	}
	c.in.set(func(s *stream) { s.readerGone = net.ErrClosed })
	c.out.set(func(s *stream) { s.writerGone = net.ErrClosed })
	return nil
}

// kill is Close as the kernel does it for a dead process: also for those who still use this end.
func (c *conn) kill() {
	c.in.set(func(s *stream) { s.readerGone = syscall.ECONNABORTED })
	c.out.set(func(s *stream) { s.writerGone = syscall.ECONNABORTED })
}

// PeerDead implements sidecar.PeerProcess: the kernel knows, unless it cannot see the other end's
// process.
func (c *conn) PeerDead() bool {
	h := c.in.from
	return h.dead.Load() && !h.unproven
}

func (c *conn) over() bool { return c.in.ended.Load() && c.out.ended.Load() }

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(func(s *stream) { s.deadline(&s.readUntil, t) })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(func(s *stream) { s.deadline(&s.writeUntil, t) })
	return nil
}

// socketBuffer is how much a stream holds before its writer has to wait.
const socketBuffer = 256 << 10

// stream is one direction of a connection. Its mutex is held for a few instructions only: whoever
// waits, waits on the condition. The link's comes after it.
type stream struct {
	link *link
	up   bool // from the host to the service
	from *host
	to   *host

	mu   sync.Mutex
	cond *sync.Cond
	buf  []byte
	way  []arrival // of what is in buf, in order

	readerGone, writerGone error // why an end does nothing any more
	broken                 bool  // reset: for both ends, and what was on its way is gone
	readUntil, writeUntil  until
	ended                  atomic.Bool // neither end uses it; atomic, because it is asked for under locks that come after mu
}

// arrival tells when a piece of the buffer is there.
type arrival struct {
	n  int
	at time.Time
}

// until is a deadline.
type until struct {
	at    time.Time
	timer *time.Timer
}

func newStream(l *link, up bool, from, to *host) *stream {
	s := &stream{link: l, up: up, from: from, to: to}
	s.cond = sync.NewCond(&s.mu)
	return s
}

// poke lets both ends look again.
func (s *stream) poke() { s.set(func(*stream) {}) }

func (s *stream) set(fn func(s *stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
	s.ended.Store(s.broken || s.readerGone != nil && s.writerGone != nil)
	s.cond.Broadcast()
}

func (s *stream) reset() {
	s.set(func(s *stream) { s.broken, s.buf, s.way = true, nil, nil })
}

func (s *stream) deadline(u *until, t time.Time) {
	if u.timer != nil {
		u.timer.Stop()
		u.timer = nil
	}
	u.at = t
	if d := time.Until(t); !t.IsZero() && d > 0 {
		u.timer = time.AfterFunc(d, s.poke)
	}
}

func (u until) passed() bool { return !u.at.IsZero() && !time.Now().Before(u.at) }

// passes tells whether anything gets through, and how long it takes.
func (s *stream) passes() (bool, time.Duration) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.up {
		return !s.link.blackUp, s.link.delay
	}
	return !s.link.blackBck, s.link.delay
}

// heard tells whether the writer can learn that the reader is gone: that comes the other way, and
// the writer's own reads end with it.
func (s *stream) heard() bool {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	return !s.link.blackUp && !s.link.blackBck
}

// broken is what a socket says of a connection that ended, in the words of package net: a client
// may try again what the system says, and nothing else.
func broken(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "lab", Err: os.NewSyscallError(op, errno)}
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readerGone != nil:
			return 0, s.readerGone
		case s.to.dead.Load():
			return 0, syscall.ECONNABORTED
		case s.to.stopped.Load():
			if s.to.wake(s) {
				s.cond.Wait()
			}
			continue
		case s.broken:
			return 0, broken("read", syscall.ECONNRESET)
		case s.readUntil.passed():
			return 0, os.ErrDeadlineExceeded
		}
		if passes, _ := s.passes(); passes {
			if n := s.take(p); n > 0 {
				s.cond.Broadcast()
				return n, nil
			}
			if len(s.buf) == 0 && s.writerGone != nil {
				return 0, io.EOF
			}
		}
		s.cond.Wait()
	}
}

// take moves what has arrived into p, and sees to it that the next arrival is noticed.
func (s *stream) take(p []byte) int {
	n := 0
	for len(s.way) > 0 && n < len(p) {
		a := &s.way[0]
		if d := time.Until(a.at); d > 0 {
			if n == 0 {
				time.AfterFunc(d, s.poke)
			}
			break
		}
		k := copy(p[n:], s.buf[:a.n])
		n += k
		s.buf = s.buf[k:]
		if a.n -= k; a.n == 0 {
			s.way = s.way[1:]
		}
	}
	return n
}

func (s *stream) write(p []byte) (written int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 {
		_, delay := s.passes()
		switch {
		case s.writerGone != nil:
			return written, s.writerGone
		case s.from.dead.Load():
			return written, syscall.ECONNABORTED
		case s.from.stopped.Load():
			if s.from.wake(s) {
				s.cond.Wait()
			}
			continue
		case s.broken:
			return written, broken("write", syscall.ECONNRESET)
		case s.readerGone != nil && s.heard():
			return written, broken("write", syscall.EPIPE)
		case s.writeUntil.passed():
			return written, os.ErrDeadlineExceeded
		case len(s.buf) >= socketBuffer:
			s.cond.Wait()
			continue
		}
		n := min(len(p), socketBuffer-len(s.buf))
		s.buf = append(s.buf, p[:n]...)
		at := time.Now().Add(delay)
		if k := len(s.way); k > 0 && at.Before(s.way[k-1].at) {
			at = s.way[k-1].at // nothing overtakes
		}
		if k := len(s.way); k > 0 && at.Equal(s.way[k-1].at) {
			s.way[k-1].n += n
		} else {
			s.way = append(s.way, arrival{n, at})
		}
		p = p[n:]
		written += n
		s.cond.Broadcast()
	}
	return written, nil
}
