package consumer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// plainCommits are the offsets that members commit by themselves from now on, beside where
// partitions start.
func (l *lab) plainCommits() func() []string {
	var mu sync.Mutex
	var all []string
	l.cluster.ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		for _, t := range kreq.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range t.Partitions {
				if p.Offset > 0 || p.Metadata != nil && *p.Metadata != "" {
					all = append(all, fmt.Sprintf("partition %d at %d", p.Partition, p.Offset))
				}
			}
		}
		return nil, nil, false
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// With CommitElsewhere nothing but where to start is committed, by the clock as little as when
// partitions leave with what was done while they drained; what was passed is told; and before
// partitions are drained in a rebalance the generation of the rebalance is known, since the broker
// takes offsets of no other.
func TestCommitElsewhere(t *testing.T) {
	classicOnly(t)
	inLab(t, 2, func(t *testing.T, l *lab) {
		commits := l.plainCommits()
		nothing := func(when string) {
			t.Helper()
			if got := commits(); len(got) > 0 {
				t.Errorf("%s the consumer has committed %q", when, got)
			}
		}
		l.feed(0, 100)
		l.feed(1, 100)
		cfg := l.config()
		cfg.CommitElsewhere = true
		cfg.CommitEvery = 30 * time.Second // not while partitions leave: what is done then is due at their last commits
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
		time.Sleep(cfg.CommitEvery)
		nothing("by the clock")
		l.until("crossed", func() bool { return crossed.Load() == 100 })
		l.feed(0, 50)
		l.feed(1, 50)
		l.until("more is handed out", func() bool { return len(h.messages()) == 300 })
		var s seen
		other := cfg
		other.Hooks = Hooks{}
		second := l.start(other, s.deliver)
		l.until("a rebalance is told", func() bool { return generation.Load() > before })
		if atRevoke.Load() != 0 {
			t.Error("nothing is done while partitions drain: nothing is tested")
		}
		DoneAll(h.messages())
		l.until("revoked", func() bool { return atRevoke.Load() != 0 })
		if got := atRevoke.Load(); got <= before {
			t.Errorf("in the revoke, generation %d was the last that was told; the one before was %d", got, before)
		}
		time.Sleep(time.Second)
		nothing("in a rebalance")
		wantNil(t, second.stop())
		nothing("at the other's end")
		l.until("the other's partition comes back from its start", func() bool { return len(h.messages()) == 450 })
		first.cancel()
		time.Sleep(100 * time.Millisecond) // it drains
		h.letGo()
		wantNil(t, first.wait())
		nothing("at its end")
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

// Who commits elsewhere needs to know which topic it is: a partition waits until the brokers say.
func TestCommitElsewhereNeedsTheTopicsID(t *testing.T) {
	for _, elsewhere := range []bool{true, false} {
		cfg := Config{CommitElsewhere: elsewhere}
		s := &survey{cfg: &cfg}
		known := topicInfo{id: [16]byte{1}}
		offsets := map[string]map[int32]kgo.Offset{"with": {0: kgo.NewOffset().At(3)}, "without": {1: kgo.NewOffset().At(4)}}
		starts, failed := s.startOffsets(t.Context(), nil, offsets, map[string]topicInfo{"with": known})
		_, begins := starts["without"][1]
		if err := failed[topicPartition{"without", 1}]; begins == elsewhere || (err != nil) != elsewhere {
			t.Errorf("elsewhere: %v: a topic without an id begins: %v; %v", elsewhere, begins, err)
		}
		if got := starts["with"][0].EpochOffset().Offset; got != 3 {
			t.Errorf("elsewhere: %v: a topic with an id begins at %d", elsewhere, got)
		}
	}
}
