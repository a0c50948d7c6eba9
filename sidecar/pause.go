package sidecar

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/boottime"
	"github.com/ackmark/ackmark/internal/kgoopt"
	"github.com/ackmark/ackmark/internal/outlet"
)

// ErrPaused ends a sidecar that stood still (SIGSTOP, a frozen container, a suspended machine) for
// longer than units that it had begun with may be on their way. Their client has produced them
// itself by now: sent late they would be there twice, and out of order (S7, fault 5). Another
// sidecar takes its place, to which every client says what it is missing.
var ErrPaused = errors.New("sidecar: it stood still until units that it had begun with expired, and their client may have produced them another way: " +
	"nothing of them is sent any more; start another sidecar (a supervisor does)")

const (
	// aliveEvery is how often a sidecar notes that it runs, and pausedAfter how long a silence of
	// that is a pause. Nobody may rely on units that expire sooner.
	aliveEvery  = 100 * time.Millisecond
	pausedAfter = time.Second
)

// gate stands between the Kafka client and its connections. What kgo has in its buffers cannot be
// taken back, so a process that was paused looks, before its first byte, whether anything in them
// may have expired meanwhile.
type gate struct {
	server *Server
	alive  atomic.Uint64 // boot-time clock
	shut   atomic.Bool

	mu     sync.Mutex
	expire map[*frame]struct{} // frames with expires_at that have records on their way
}

func newGate(s *Server) *gate {
	g := &gate{server: s, expire: make(map[*frame]struct{})}
	g.alive.Store(boottime.Nanos())
	return g
}

// enter and leave tell which frames are on their way. Only those that expire are of interest: no
// client can produce the others itself.
func (g *gate) enter(f *frame) {
	if f.expires == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire[f] = struct{}{}
}

func (g *gate) leave(f *frame) {
	if f.expires == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.expire, f)
}

// beat notes that the process runs, until the context ends. It looks as well: the beat may be the
// first to run after a pause.
func (g *gate) beat(ctx context.Context) {
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
func (g *gate) pass() error {
	if g.shut.Load() {
		return ErrPaused
	}
	now := boottime.Nanos()
	last := g.alive.Load()
	if now > last+uint64(pausedAfter) && g.anyExpired(now) {
		if !g.shut.Swap(true) {
			g.server.log.Error("the sidecar stops", "err", ErrPaused, "stood_still", time.Duration(now-last))
			g.server.halt(ErrPaused)
		}
		return ErrPaused
	}
	for last < now && !g.alive.CompareAndSwap(last, now) {
		last = g.alive.Load()
	}
	return nil
}

func (g *gate) anyExpired(now uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for f := range g.expire {
		if f.expires < now {
			return true
		}
	}
	return false
}

// dialer wraps how the client dials.
func (g *gate) dialer(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
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
	gate *gate
}

// Write sends a request, or nothing for ever.
func (c gatedConn) Write(b []byte) (int, error) {
	if err := c.gate.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// newOutlet makes the Kafka clients with the gate in front of their dialers, TLS included.
func (s *Server) newOutlet() (*outlet.Outlet, error) {
	all, usual := s.clientOptions()
	probe, err := kgoopt.Probe(all)
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	if dial, ok := probe.OptValue(kgo.Dialer).(func(context.Context, string, string) (net.Conn, error)); ok {
		all = append(all, kgo.DialTLSConfig(nil), kgo.Dialer(s.gate.dialer(dial)))
	}
	return outlet.New(outlet.Config{
		Options: all, Usual: usual, Partitioner: s.cfg.Partitioner, MaxRecordBytes: int32(s.cfg.MaxRecordBytes), Resend: s.resend, Log: s.log,
		Placed: func(r *outlet.Rec, partition int32) { enqueue(recordOf(&r.Record), partition) },
	})
}

// expired tells whether a unit's time to be begun is over.
func (s *Server) expired(at uint64) bool { return at != 0 && boottime.Nanos() > at }
