package consumer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// keeper is what a member was handed out and keeps in hand: offset 3 of partition 0, of the first
// assignment. It does everything else at once.
type keeper struct {
	mu    sync.Mutex
	kept  *Message
	first *Assignment
	seen  map[int64]int // of partition 0: how often it was handed out
}

func (h *keeper) deliver(b *Batch) {
	for i := range b.Messages {
		in := &b.Messages[i]
		if !in.Start() {
			continue
		}
		h.mu.Lock()
		keep := false
		if in.Partition == 0 {
			h.seen[in.Offset]++
			if keep = in.Offset == 3 && h.kept == nil; keep {
				h.kept, h.first = in, b.Assignment
			}
		}
		h.mu.Unlock()
		if !keep {
			in.Done(nil)
		}
	}
}

// An input that can be done under another assignment only: its partition begins anew, from what is
// done, and nothing that was done is handed out again. The other partitions go on as they are.
func TestRenew(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		h := &keeper{seen: map[int64]int{}}
		m := l.start(l.config(), h.deliver)
		l.until("all but one are done", func() bool {
			s := m.State().Partitions
			return len(s) == 2 && s[0].Done == 9
		})
		epoch := m.State().Partitions[1].Epoch
		h.kept.Done(ErrRevoked)
		if s := m.State().Partitions[0]; s.Halted != nil || s.AckMark != 3 {
			t.Fatalf("an input that is neither done nor failed: %+v", s)
		}
		wantNil(t, m.Renew([]*Assignment{h.first}))
		l.untilCommitted(0, 10)
		l.feed(0, 5)
		l.untilCommitted(0, 15)
		wantNil(t, m.Renew([]*Assignment{h.first})) // it is over
		if s := m.State().Partitions; s[1].Epoch != epoch || s[0].Epoch == h.first.Epoch {
			t.Errorf("epochs %d and %d, were %d and %d", s[0].Epoch, s[1].Epoch, h.first.Epoch, epoch)
		}
		wantNil(t, m.stop())
		if err := m.Renew(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		for o := range int64(15) {
			if want := map[bool]int{true: 2, false: 1}[o == 3]; h.seen[o] != want {
				t.Errorf("offset %d was handed out %d times, want %d", o, h.seen[o], want)
			}
		}
	})
}

// Where a transaction commits the offsets, an input in hand can wait for the group's next
// generation: who renews its assignment, and waits for it, must not hold up a rebalance.
func TestRenewDoesNotHoldUpARebalance(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		h := &keeper{seen: map[int64]int{}}
		cfg := l.config()
		var generation atomic.Int32
		cfg.Hooks.Assigned = func(_ context.Context, m Membership, _ []*Assignment) { generation.Store(m.Generation) }
		m := l.start(cfg, h.deliver)
		l.until("all but one are done", func() bool { return m.State().Joined && m.State().Partitions[0].Done == 9 })
		before := generation.Load()
		renewed := make(chan error, 1)
		begun := time.Now()
		go func() { renewed <- m.Renew([]*Assignment{h.first}) }()
		synctest.Wait()
		other := l.start(l.config(), nil)
		l.until("the next generation is known", func() bool { return generation.Load() != before })
		if took := time.Since(begun); took >= DefaultDrainTimeout {
			t.Errorf("the rebalance took %s, as long as the drain", took)
		}
		h.kept.Done(nil)
		wantNil(t, <-renewed)
		l.untilCommitted(0, 10)
		wantNil(t, other.stop())
		wantNil(t, m.stop())
		if h.seen[3] != 1 {
			t.Errorf("the input was handed out %d times", h.seen[3])
		}
	})
}

// Whoever is renewed with others begins anew as soon as it rests itself, and does not wait for the
// slowest of them. That one is given up at the drain's deadline, and the log says for how long it
// was waited for.
func TestRenewDoesNotWaitForTheSlowest(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		l.feed(1, 10)
		var mu sync.Mutex
		first := map[int32]*Assignment{}
		h := &keeper{seen: map[int64]int{}}
		m := l.start(l.config(), func(b *Batch) {
			mu.Lock()
			if a := b.Assignment; first[a.Partition] == nil {
				first[a.Partition] = a
			}
			mu.Unlock()
			h.deliver(b)
		})
		l.until("all but one are done", func() bool {
			s := m.State().Partitions
			return len(s) == 2 && s[0].Done == 9 && s[1].Done == 10
		})
		renewed := make(chan error, 1)
		begun := time.Now()
		go func() { renewed <- m.Renew([]*Assignment{first[0], first[1]}) }()
		l.until("the partition that rests begins anew", func() bool {
			for _, p := range m.State().Partitions {
				if p.Partition == 1 && p.Epoch != first[1].Epoch {
					return true
				}
			}
			return false
		})
		if took := time.Since(begun); took > DefaultDrainTimeout/2 {
			t.Errorf("the partition that rests begins anew after %s, as late as the slowest one", took)
		}
		if len(renewed) > 0 {
			t.Error("the other is not waited for")
		}
		wantNil(t, <-renewed) // at the deadline, without it
		l.untilCommitted(0, 10)
		if h.seen[3] != 2 {
			t.Errorf("what was given up was handed out %d times, want 2", h.seen[3])
		}
		const says = "1 inputs were started and not done when the drain ended after 10s"
		if log := l.logs.String(); !strings.Contains(log, says) {
			t.Errorf("the log does not say %q:\n%s", says, log)
		}
		wantNil(t, m.stop())
	})
}
