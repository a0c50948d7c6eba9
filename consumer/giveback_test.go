package consumer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/verify/leftover"
)

// leftOver names what the consumer holds of its limits, and is empty when everything was given
// back.
func (c *Consumer) leftOver() string {
	var left leftover.List
	for _, p := range c.parts.all() {
		p.mu.Lock()
		check := func(what string, n int64) {
			left.Check(fmt.Sprintf("partition %d: %s", p.assignment.Partition, what), n)
		}
		check("bytes", p.hand.bytes)
		check("records", int64(p.hand.records))
		check("parked records", int64(len(p.parked.recs)))
		check("parked bytes", p.parked.bytes)
		check("runs", int64(len(p.hand.runs)))
		check("inputs in the tracker", int64(p.core.Pending()))
		check("done above the mark", int64(p.core.Counts().DoneAbove))
		check("inputs that a drain waits for", int64(p.drain.waiting))
		if p.paused {
			check("pauses", 1)
		}
		p.mu.Unlock()
	}
	left.Check("partitions that wait", int64(len(c.group.waiting.all())))
	left.Check("answers of the group that no assignment began from", int64(len(c.group.found)))
	return left.String()
}

// hoard holds inputs that were handed out until somebody ends them.
type hoard struct {
	mu    sync.Mutex
	held  []*Message
	until bool // everything ends at once
}

func (h *hoard) deliver(b *Batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range b.Messages {
		m := &b.Messages[i]
		switch {
		case !m.Start():
		case h.until:
			m.Done(nil)
		default:
			h.held = append(h.held, m)
		}
	}
}

// finish ends some of them, in any order.
func (h *hoard) finish(r *rand.Rand, n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range min(n, len(h.held)) {
		i := r.IntN(len(h.held))
		h.held[i].Done(err)
		h.held[i] = h.held[len(h.held)-1]
		h.held = h.held[:len(h.held)-1]
	}
}

// flood ends everything that was handed out, and that will be.
func (h *hoard) flood() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = true
	DoneAll(h.held)
	h.held = nil
}

var errHandler = errors.New("the handler's")

// Whatever becomes of inputs and assignments (refusals, halts, resumes, lost memberships,
// rebalances, parked inputs, leaders that move), the budget is whole when all is done.
func TestTheBudgetIsGivenBack(t *testing.T) {
	n := 60
	if testing.Short() {
		n = 20
	}
	for _, seed := range leftover.Seeds(n) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inLab(t, 3, func(t *testing.T, l *lab) { l.spend(rand.New(rand.NewPCG(seed, 3))) })
		})
	}
}

func (l *lab) spend(r *rand.Rand) {
	t, fed := l.t, [3]int64{}
	feed := func(p int32, n int) {
		l.feed(p, n)
		fed[p] += int64(n)
	}
	if r.IntN(4) == 0 { // more than a done-set can describe: the rest is parked
		for range 6 {
			feed(0, 5000)
		}
	}
	h := new(hoard)
	start := func() *member {
		cfg := l.config()
		cfg.MaxRecords, cfg.MaxBytes = 200+r.IntN(40_000), int64(100_000+r.IntN(20<<20))
		cfg.DrainTimeout, cfg.RebalanceTimeout, cfg.SessionTimeout, cfg.CommitEvery = time.Second, 10*time.Second, 6*time.Second, 300*time.Millisecond
		cfg.HandlerTimeout = -1
		cfg.OnHalt = func(*HaltError) {}
		return l.start(cfg, h.deliver)
	}
	members := []*member{start()}
	faults := []kfake.Fault{
		{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: groupName, Err: kerr.UnknownMemberID, Count: 1},
		{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: groupName, Err: kerr.IllegalGeneration, Count: 1},
		{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: groupName, Err: kerr.UnknownMemberID, Count: 1},
		{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: groupName, Err: kerr.CoordinatorLoadInProgress, Count: 3},
		{Keys: []kmsg.Key{kmsg.OffsetFetch}, Group: groupName, Err: kerr.UnknownServerError, Count: 2},
		{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.NotLeaderForPartition, Count: 2},
	}
	for range 20 + r.IntN(40) {
		switch r.IntN(12) {
		case 0, 1, 2:
			feed(r.Int32N(3), 1+r.IntN(300))
		case 3, 4, 5:
			h.finish(r, 1+r.IntN(500), nil)
		case 6:
			h.finish(r, 1, errHandler)
		case 7:
			_ = members[r.IntN(len(members))].Resume(topic, r.Int32N(3))
		case 8:
			l.cluster.Fault(faults[r.IntN(len(faults))])
		case 9:
			if len(members) < 3 {
				members = append(members, start())
			}
		case 10:
			if len(members) > 1 {
				members[0].cancel()
				members = members[1:]
			}
		default:
			time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		}
		if r.IntN(3) == 0 {
			synctest.Wait()
		}
	}
	h.flood()
	l.until("all is done", func() bool {
		for _, m := range members {
			for _, p := range m.State().Partitions {
				if p.Halted != nil {
					_ = m.Resume(topic, p.Partition)
				}
			}
		}
		for p := range int32(3) {
			if l.committed(p) != fed[p] && (fed[p] > 0 || l.committed(p) > 0) {
				return false
			}
		}
		return true
	})
	for _, m := range members {
		leftover.Expect(t, "when all is done", m.leftOver)
		if e := m.stop(); e != nil {
			t.Errorf("stop: %v", e)
		}
		m.parts.partsMu.Lock()
		if n := len(m.parts.parts[topic]); n != 0 {
			t.Errorf("%d partitions after the end", n)
		}
		m.parts.partsMu.Unlock()
	}
}
