package consumer

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// gap is between a member and its brokers: while it is open, nothing passes, and nothing is lost of
// what arrives when it is closed.
type gap struct {
	dial func(context.Context, string, string) (net.Conn, error)
	back bool // only answers are held

	mu     sync.Mutex
	closed chan struct{} // nil: nothing is held
}

func (g *gap) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gap) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

// await returns when the gap is closed, or the connection.
func (g *gap) await(gone <-chan struct{}) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed != nil {
		select {
		case <-closed:
		case <-gone:
		}
	}
}

func (g *gap) connect(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := g.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &gapConn{Conn: c, gap: g, gone: make(chan struct{})}, nil
}

type gapConn struct {
	net.Conn
	gap  *gap
	once sync.Once
	gone chan struct{}
}

func (c *gapConn) Write(b []byte) (int, error) {
	if !c.gap.back {
		c.gap.await(c.gone)
	}
	return c.Conn.Write(b)
}

func (c *gapConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gap.await(c.gone)
	select {
	case <-c.gone:
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (c *gapConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// A member that the brokers do not answer for the length of a session is taken for dead by them,
// and hears it from nobody. It ends by itself what it holds, on the dot, and joins as a new member
// when it reaches them; also where they have not missed it, because its heartbeats came through.
func TestAMemberThatIsNotAnsweredEndsByItself(t *testing.T) {
	const sessionTime = 10 * time.Second
	for name, back := range map[string]bool{"nothing passes": false, "no answer passes": true} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 6, func(t *testing.T, l *lab) {
				l.cluster.SetGroupConfigs(groupName, map[string]string{sessionConfig: "10000"}) // Config.SessionTimeout is another one
				gap := &gap{dial: l.net.DialContext, back: back}
				var lost atomic.Int64
				cfg := l.epochs()
				cfg.Options = []kgo.Opt{kgo.Dialer(gap.connect), kgo.DisableClientMetrics()}
				cfg.Hooks.Lost = func(as []*Assignment) { lost.Add(int64(len(as))) }
				var h holder
				m := l.start(cfg, h.deliver)
				l.untilSpread(m)
				l.feed(0, 10)
				l.until("it has them", func() bool { return len(h.messages()) == 10 })
				before := m.State().Membership.MemberID

				gap.open()
				time.Sleep(sessionTime - 2*DefaultHeartbeatInterval)
				if n := lost.Load(); n > 0 {
					t.Errorf("lost %d partitions before the session was over", n)
				}
				time.Sleep(2 * DefaultHeartbeatInterval)
				if n := lost.Load(); n != 6 {
					t.Errorf("the session is over, and %d partitions of 6 are lost", n)
				}
				for _, in := range h.messages() {
					if in.Context().Err() == nil {
						t.Errorf("offset %d is still worked on", in.Offset)
					}
				}
				h.letGo()
				time.Sleep(time.Minute)
				if got := l.committed(0); got > 0 {
					t.Errorf("it committed %d", got)
				}
				gap.close()
				l.until("it is another member", func() bool { now := m.State(); return now.Joined && now.Membership.MemberID != before })
				l.untilSpread(m)
				l.untilCommitted(0, 10)
				wantNil(t, m.stop())
			})
		})
	}
}

// The brokers are told another length of sessions while a member runs: it counts by that one as
// soon as it has asked again.
func TestASessionGetsAnotherLength(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		gap           time.Duration
		lost          int64
	}{
		"shorter": {"30000", "10000", 10*time.Second + DefaultHeartbeatInterval, 6},
		"longer":  {"10000", "30000", 20 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 6, func(t *testing.T, l *lab) {
				l.cluster.SetGroupConfigs(groupName, map[string]string{sessionConfig: c.before})
				gap := &gap{dial: l.net.DialContext}
				var lost atomic.Int64
				cfg := l.epochs()
				cfg.Options = []kgo.Opt{kgo.Dialer(gap.connect), kgo.DisableClientMetrics()}
				cfg.Hooks.Lost = func(as []*Assignment) { lost.Add(int64(len(as))) }
				m := l.start(cfg, nil)
				l.untilSpread(m)
				l.cluster.SetGroupConfigs(groupName, map[string]string{sessionConfig: c.after})
				time.Sleep(11 * time.Second) // a third of a session
				gap.open()
				time.Sleep(c.gap)
				if n := lost.Load(); n != c.lost {
					t.Errorf("lost %d partitions, want %d", n, c.lost)
				}
				gap.close()
				l.untilSpread(m)
				wantNil(t, m.stop())
			})
		})
	}
}

// While heartbeats are answered nothing ends, however short the session.
func TestAMemberThatIsAnsweredGoesOn(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		l.cluster.SetGroupConfigs(groupName, map[string]string{sessionConfig: "1500"})
		var lost atomic.Int64
		cfg := l.epochs()
		cfg.Hooks.Lost = func(as []*Assignment) { lost.Add(int64(len(as))) }
		m := l.start(cfg, nil)
		l.untilSpread(m)
		time.Sleep(10 * time.Minute)
		if n := lost.Load(); n > 0 {
			t.Errorf("lost %d partitions", n)
		}
		wantNil(t, m.stop())
	})
}

// What is left of a session is counted from when the heartbeat was sent, however late its answer
// is, and whichever of the client's two words the process stood still before.
func TestASessionIsCountedFromWhatWasSent(t *testing.T) {
	for name, still := range map[string][2]time.Duration{
		"a slow answer":                  {},
		"stood still after it was sent":  {4 * time.Second, 0},
		"stood still with its answer in": {0, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSession(10 * time.Second)
				if _, known := s.left(); known {
					t.Error("known before any answer")
				}
				time.Sleep(still[0])
				s.OnBrokerWrite(kgo.BrokerMetadata{}, int16(kmsg.ConsumerGroupHeartbeat), 0, 0, 0, nil)
				time.Sleep(5 * time.Second)
				took := kgo.BrokerE2E{ReadWait: still[0], TimeToRead: 5 * time.Second}
				time.Sleep(still[1])
				s.OnBrokerE2E(kgo.BrokerMetadata{}, int16(kmsg.ConsumerGroupHeartbeat), took)
				want := 10*time.Second - still[0] - still[1] - 5*time.Second
				if left, known := s.left(); !known || left != want {
					t.Errorf("%v left, want %v", left, want)
				}
			})
		})
	}
}
