package consumer

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// crashing is the network of a process that will be killed.
type crashing struct {
	l    *lab
	dead atomic.Bool
	mu   sync.Mutex
	open []net.Conn
}

func (c *crashing) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.dead.Load() {
		return nil, errors.New("killed")
	}
	conn, err := c.l.net.DialContext(ctx, network, addr)
	if err == nil {
		c.mu.Lock()
		c.open = append(c.open, conn)
		c.mu.Unlock()
	}
	return conn, err
}

func (c *crashing) kill() {
	c.dead.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		_ = conn.Close()
	}
}

// A member was killed and its successor joins: the join takes until the dead member's session ends,
// 45 s. The survivor works on meanwhile, and commits, and a shutdown in that time commits too.
func TestCommitsWhileAJoinWaitsForADeadMember(t *testing.T) {
	classicOnly(t)
	inLab(t, 2, func(t *testing.T, l *lab) {
		survivor := l.start(l.config(), nil)
		l.until("the survivor has both", func() bool { return len(survivor.State().Partitions) == 2 })
		doomed := &crashing{l: l}
		cfg := l.config()
		cfg.Options = append(cfg.Options, kgo.Dialer(doomed.dial))
		killed := l.start(cfg, nil)
		l.until("one each", func() bool { return len(killed.State().Partitions) == 1 && len(survivor.State().Partitions) == 1 })
		doomed.kill()
		successor := l.start(l.config(), nil)
		l.until("the join waits", func() bool {
			return l.cluster.GroupInfo(groupName).State == "PreparingRebalance" && survivor.commits.joining.Load()
		})

		kept := survivor.State().Partitions[0].Partition
		begun := time.Now()
		l.feed(kept, 100)
		l.untilCommitted(kept, 100)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("committed after %s", took)
		}
		l.feed(kept, 50)
		l.until("done", func() bool { return survivor.State().Partitions[0].AckMark == 150 })
		wantNil(t, survivor.stop()) // it leaves when the join is over, and does not wait for that
		if got := l.committed(kept); got != 150 {
			t.Errorf("the shutdown committed %d, want 150", got)
		}
		l.until("the successor has both", func() bool { return len(successor.State().Partitions) == 2 })
		wantNil(t, successor.stop())
		_ = killed.stop()
	})
}

// A shutdown fences without the commit's lock when the coordinator is silent: what follows the
// request that hangs, of a commit that was cut into several, is not sent any more (S2).
func TestNothingGoesPastTheClientAfterTheFence(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.until("assigned", func() bool { return len(m.State().Partitions) == 1 })
		points := allDue(m.Consumer)
		m.commits.commitMu.Lock()
		points.of[0].p.fence(ErrShutdown)
		err := m.commits.sendPast(*m.group.current.Load(), points)
		m.commits.commitMu.Unlock()
		if !errors.Is(err, groupcommit.ErrStale) {
			t.Errorf("got %v", err)
		}
		if at := l.committed(0); at > 0 {
			t.Errorf("committed %d after the fence", at)
		}
		_ = m.stop()
	})
}
