package consumer

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// With CommitElsewhere nothing but where to start is committed, also when partitions leave; what
// was passed is told; and before partitions are drained in a rebalance the generation of the
// rebalance is known, since the broker takes offsets of no other.
func TestCommitElsewhere(t *testing.T) {
	classicOnly(t)
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		l.feed(1, 100)
		cfg := l.config()
		cfg.CommitElsewhere = true
		cfg.CommitEvery = 50 * time.Millisecond
		var crossed, generation, atRevoke atomic.Int64
		cfg.Hooks = Hooks{
			Crossed:  func(_ *Assignment, offset int64) { crossed.Store(offset) },
			Assigned: func(_ context.Context, m Membership, _ []*Assignment) { generation.Store(int64(m.Generation)) },
			Revoking: func(context.Context, []*Assignment) { atRevoke.CompareAndSwap(0, generation.Load()) },
		}
		var h holder
		first := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 200 })
		before := generation.Load()
		DoneAll(h.messages())
		l.until("crossed", func() bool { return crossed.Load() == 100 })
		var s seen
		other := cfg
		other.Hooks = Hooks{}
		second := l.start(other, s.deliver)
		l.until("revoked", func() bool { return atRevoke.Load() != 0 })
		if got := atRevoke.Load(); got <= before {
			t.Errorf("in the revoke, generation %d was the last that was told; the one before was %d", got, before)
		}
		time.Sleep(time.Second)
		h.letGo() // the other's partition comes back from its start
		wantNil(t, second.stop())
		wantNil(t, first.stop())
		for p := range int32(2) {
			if at := l.committed(p); at > 0 {
				t.Errorf("partition %d is committed at %d by the consumer", p, at)
			}
		}
	})
}

// A member that drains, for it ends, has its inputs committed elsewhere, by the epoch that it has:
// a rebalance of others moves that meanwhile, and who commits is told.
func TestTheEpochIsToldWhileDraining(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.epochs()
		cfg.CommitElsewhere = true
		var told atomic.Int64
		cfg.Hooks = Hooks{Assigned: func(_ context.Context, m Membership, _ []*Assignment) { told.Store(int64(m.Generation)) }}
		var h holder
		first := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 10 })
		before := told.Load()
		first.cancel()
		time.Sleep(200 * time.Millisecond) // it drains
		var s seen
		other := l.start(l.epochs(), s.deliver)
		time.Sleep(5 * time.Second)
		if got := told.Load(); got <= before {
			t.Errorf("told epoch %d, and %d before the other came", got, before)
		}
		h.letGo()
		wantNil(t, first.stop())
		wantNil(t, other.stop())
	})
}
