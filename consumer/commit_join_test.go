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
