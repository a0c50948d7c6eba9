package gate

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/internal/boottime"
)

// ErrShut is why nothing is sent any more.
var ErrShut = errors.New("it stood still until units that it had begun with expired, and their client may have produced them another way: " +
	"nothing of them is sent any more")

const (
	// aliveEvery is how often a sidecar notes that it runs, and pausedAfter how long a silence of
	// that is a pause. Nobody may rely on units that expire sooner.
	aliveEvery  = 100 * time.Millisecond
	pausedAfter = time.Second
)

// Gate stands between the Kafka client and its connections. What kgo has in its buffers cannot be
// taken back, so a process that was paused looks, before its first byte, whether anything in them
// may have expired meanwhile.
type Gate struct {
	paused func(stoodStill time.Duration)
	alive  atomic.Uint64 // boot-time clock
	shut   atomic.Bool

	mu     sync.Mutex
	expire map[*Expiry]struct{} // of frames that have records on their way
}

// Expiry is when something must not be begun with any more, on the boot-time clock in nanoseconds;
// 0: never.
type Expiry struct{ At uint64 }

// New makes one that tells once that it has shut for good: the process stood still for so long.
func New(paused func(stoodStill time.Duration)) *Gate {
	g := &Gate{paused: paused, expire: make(map[*Expiry]struct{})}
	g.alive.Store(boottime.Nanos())
	return g
}

// Enter tells that something is on its way. Only what expires is of interest: no client can produce
// the rest itself.
func (g *Gate) Enter(e *Expiry) {
	if e.At == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire[e] = struct{}{}
}

// Leave tells that nothing of it is on its way any more.
func (g *Gate) Leave(e *Expiry) {
	if e.At == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.expire, e)
}

// Beat notes that the process runs, until the context ends. It looks as well: the beat may be the
// first to run after a pause.
func (g *Gate) Beat(ctx context.Context) {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = g.pass()
		}
	}
}

// pass tells whether a byte may be sent to Kafka.
func (g *Gate) pass() error {
	if g.shut.Load() {
		return ErrShut
	}
	now := boottime.Nanos()
	last := g.alive.Load()
	if now > last+uint64(pausedAfter) && g.anyExpired(now) {
		if !g.shut.Swap(true) {
			g.paused(time.Duration(now - last))
		}
		return ErrShut
	}
	for last < now && !g.alive.CompareAndSwap(last, now) {
		last = g.alive.Load()
	}
	return nil
}

// Waiting is how much is on its way that may expire.
func (g *Gate) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.expire)
}

func (g *Gate) anyExpired(now uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := range g.expire {
		if e.At < now {
			return true
		}
	}
	return false
}

// Passed tells whether a time to be begun is over.
func (e Expiry) Passed() bool { return e.At != 0 && boottime.Nanos() > e.At }

// Dialer wraps how the client dials.
func (g *Gate) Dialer(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if err := g.pass(); err != nil {
			return nil, err
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return gatedConn{conn, g}, nil
	}
}

type gatedConn struct {
	net.Conn
	gate *Gate
}

// Write sends a request, or nothing for ever.
func (c gatedConn) Write(b []byte) (int, error) {
	if err := c.gate.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
