package listen

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"
)

// Limited closes connections above the limit at once: a client that is let wait would not
// know why.
type Limited struct {
	net.Listener
	most atomic.Int64
	open atomic.Int64
	tell func(refused uint64)

	mu      sync.Mutex
	refused uint64
	told    time.Time
}

// tellEvery is how often it is told that connections are refused: what a peer does again and again
// must not fill the log.
const tellEvery = 10 * time.Second

// Limit lets so many connections of a listener be open. It tells of those that it refuses, at once
// and then now and then: how many they are so far.
func Limit(lis net.Listener, most int, tell func(refused uint64)) *Limited {
	l := &Limited{Listener: lis, tell: tell}
	l.Most(most)
	return l
}

// Most sets how many may be open. A lower number closes none: those that are more are let be until
// they end.
func (l *Limited) Most(n int) { l.most.Store(int64(n)) }

// refuse counts a connection that is refused, and tells of it if it is time to.
func (l *Limited) refuse() {
	l.mu.Lock()
	l.refused++
	n, say := l.refused, l.told.IsZero() || time.Since(l.told) >= tellEvery
	if say {
		l.told = time.Now()
	}
	l.mu.Unlock()
	if say {
		l.tell(n)
	}
}

// Accept returns a *Conn.
func (l *Limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most.Load() {
			return &Conn{Conn: conn, open: &l.open, ready: readinessOf(conn)}, nil
		}
		l.open.Add(-1)
		_ = conn.Close()
		l.refuse()
	}
}

// Conn is a connection that counts against the limit.
type Conn struct {
	net.Conn
	open      *atomic.Int64 // those of its listener
	once      sync.Once
	receivers atomic.Int32 // of its streams
	busy      atomic.Int32 // of them at a message, not waiting for one
	ended     atomic.Bool  // by its peer, which may not be told yet
	ready     *readiness   // nil: what was accepted cannot tell when it has something to read
}

const (
	// LastWords is how long the end of a connection is kept back at most while its receivers are at
	// what came before it.
	LastWords     = 50 * time.Millisecond
	lastWordsLook = time.Millisecond
)

// Read tells the end of the connection only when its receivers have read what came before it, or
// after a moment. When a connection ends gRPC drops what they have not read: a Release of a process
// that died right after it, or that a stopped sidecar finds in its socket, would not be heard
// before the will.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.heard(n, err)
	return n, err
}

// ReadOnReady reads as Read does, into a buffer of the pool that is taken when there is something
// to read: so gRPC reads connections that have it, and a session that rests keeps no buffer of 32
// KiB (readyreader.Reader of its transport).
func (c *Conn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	var buf *[]byte
	var n int
	var err error
	if c.ready != nil {
		buf, n, err = c.ready.read(size, pool)
	} else {
		buf = pool.Get(size)
		n, err = c.Conn.Read(*buf)
	}
	if n == 0 && buf != nil {
		pool.Put(buf)
		buf = nil
	}
	c.heard(n, err)
	return buf, n, err
}

// heard has the receivers finish where a read was the last one.
func (c *Conn) heard(n int, err error) {
	if err != nil && n == 0 && !errors.Is(err, net.ErrClosed) {
		c.ended.Store(true)
		c.hearOut()
	}
}

// Receive tells that a receiver of the connection's streams begins; call what it returns when it
// ends.
func (c *Conn) Receive() (ends func()) {
	c.receivers.Add(1)
	return func() { c.receivers.Add(-1) }
}

// Work tells that a receiver has a message in its hands.
func (c *Conn) Work() { c.busy.Add(1) }

// Rest tells that it has not any more.
func (c *Conn) Rest() { c.busy.Add(-1) }

// Gone tells that the peer has ended the connection, of which gRPC may not be told yet.
func (c *Conn) Gone() bool { return c.ended.Load() }

func (c *Conn) hearOut() {
	idle := 0
	for begun := time.Now(); c.receivers.Load() > 0 && time.Since(begun) < LastWords; {
		time.Sleep(lastWordsLook)
		if c.busy.Load() > 0 {
			idle = 0
		} else if idle++; idle == 2 { // a receiver that was just woken is not busy yet
			return
		}
	}
}

// Close makes room for another connection.
func (c *Conn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// Unwrap returns what was accepted.
func Unwrap(c net.Conn) net.Conn {
	if l, ok := c.(*Conn); ok {
		return l.Conn
	}
	return c
}
