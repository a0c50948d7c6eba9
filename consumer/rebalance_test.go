package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// seen counts how often each offset of each partition was done.
type seen struct {
	mu   sync.Mutex
	done map[int32]map[int64]int
}

func (s *seen) deliver(b *Batch) {
	for i := range b.Messages {
		m := &b.Messages[i]
		if !m.Start() {
			continue
		}
		s.mu.Lock()
		if s.done == nil {
			s.done = map[int32]map[int64]int{}
		}
		if s.done[m.Partition] == nil {
			s.done[m.Partition] = map[int64]int{}
		}
		s.done[m.Partition][m.Offset]++
		s.mu.Unlock()
		m.Done(nil)
	}
}

func (l *lab) untilSpread(members ...*member) {
	l.t.Helper()
	l.until("partitions spread evenly", func() bool {
		for _, m := range members {
			s := m.State()
			if !s.Joined || len(s.Partitions) != 6/len(members) {
				return false
			}
		}
		return true
	})
}

// 1 → 3 → 1 members under load: nothing is lost, and in good order nothing is done twice.
func TestScaleOutAndIn(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		var s seen
		feed := func() {
			for p := range int32(6) {
				l.feed(p, 50)
			}
		}
		feed()
		a := l.start(l.config(), s.deliver)
		l.untilSpread(a)
		feed()
		b, c := l.start(l.config(), s.deliver), l.start(l.config(), s.deliver)
		feed()
		l.untilSpread(a, b, c)
		feed()
		wantNil(t, a.stop())
		feed()
		wantNil(t, b.stop())
		feed()
		l.untilSpread(c)
		for p := range int32(6) {
			l.untilCommitted(p, 300)
		}
		wantNil(t, c.stop())
		for p := range int32(6) {
			for o := range int64(300) {
				if n := s.done[p][o]; n != 1 {
					t.Errorf("partition %d offset %d done %d times", p, o, n)
				}
			}
		}
	})
}

// A member that leaves is replaced in less than 3 s although the session timeout is 45 s.
func TestTakeoverIsFast(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		a, b := l.start(l.config(), nil), l.start(l.config(), nil)
		l.untilSpread(a, b)
		wantNil(t, a.stop())
		begun := time.Now()
		l.untilSpread(b)
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("takeover took %s", took)
		}
		wantNil(t, b.stop())
	})
}

// A revoked partition is drained and committed; what is done after the revoke changes nothing.
func TestRevokeDrainsAndLateDoneChangesNothing(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		for p := range int32(6) {
			l.feed(p, 2)
		}
		var h holder
		cfg := l.config()
		var leaving []*Assignment
		cfg.Hooks.Revoking = func(ctx context.Context, as []*Assignment) {
			leaving = append(leaving, as...)
			if _, ok := ctx.Deadline(); !ok {
				t.Error("Revoking without a deadline")
			}
		}
		a := l.start(cfg, h.deliver)
		l.until("all handed out", func() bool { return len(h.messages()) == 12 })
		for _, m := range h.messages() {
			if m.Offset == 0 {
				m.Done(nil)
			}
		}
		begun := time.Now()
		b := l.start(l.config(), nil)
		l.untilSpread(a, b)
		if took := time.Since(begun); took < DefaultDrainTimeout {
			t.Errorf("the drain took %s only, although inputs were running", took)
		}
		if len(leaving) != 3 {
			t.Fatalf("%d partitions left, want 3", len(leaving))
		}
		for _, as := range leaving {
			if err := context.Cause(as.Context()); !errors.Is(err, ErrRevoked) {
				t.Errorf("the context's cause is %v, want ErrRevoked", err)
			}
			l.untilCommitted(as.Partition, 2) // by b, which got offset 1 again
		}
		for _, m := range h.messages() {
			m.Done(nil)
			if m.Start() != (context.Cause(m.Context()) == nil) && m.Offset == 1 && m.Start() {
				t.Errorf("Start of %d/%d after the revoke", m.Partition, m.Offset)
			}
		}
		wantNil(t, a.stop())
		wantNil(t, b.stop())
		for p := range int32(6) {
			if got := l.committed(p); got != 2 {
				t.Errorf("partition %d committed at %d, want 2", p, got)
			}
		}
	})
}

// Inputs that were handed out and not started are not waited for.
func TestRevokeDoesNotWaitForWhatWasNotStarted(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		for p := range int32(6) {
			l.feed(p, 5)
		}
		a := l.start(l.config(), func(*Batch) {})
		l.until("handed out", func() bool { return a.State().Lag() == 30 })
		begun := time.Now()
		b := l.start(l.config(), nil)
		l.untilSpread(a, b)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the rebalance took %s", took)
		}
		wantNil(t, a.stop())
		wantNil(t, b.stop())
	})
}

// An input that is given back while its partition stays, as far as the consumer knows, is no reason
// to wait when that leaves. It is not done, either: nothing from it on is committed, nothing halts,
// and it comes again in the next assignment, not in this one.
func TestGivenBackIsNotWaitedFor(t *testing.T) {
	for _, why := range []error{ErrLost, ErrRevoked, ErrShutdown} {
		t.Run(why.Error(), func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 3)
				var h holder
				cfg := l.config()
				halted := halts(&cfg)
				a := l.start(cfg, h.deliver)
				l.until("handed out", func() bool { return len(h.messages()) == 3 })
				in := h.messages()
				in[0].Done(nil)
				in[1].Done(fmt.Errorf("given back: %w", why))
				in[1].Done(nil) // the first counts
				in[2].Done(nil)
				l.untilCommitted(0, 1)
				if in[1].Start() || len(h.messages()) != 3 {
					t.Error("it came again in this assignment")
				}
				begun := time.Now()
				wantNil(t, a.stop())
				if took := time.Since(begun); took > 3*time.Second || len(halted) > 0 || l.committed(0) != 1 {
					t.Errorf("it took %s, %d halts, committed %d", took, len(halted), l.committed(0))
				}
				var s seen
				b := l.start(l.config(), s.deliver)
				l.untilCommitted(0, 3)
				wantNil(t, b.stop())
				if len(s.done[0]) != 1 || s.done[0][1] != 1 {
					t.Errorf("the next one had %v", s.done[0])
				}
			})
		})
	}
}

// The coordinator forgets the member: everything is fenced, nothing is committed, and the member
// joins again.
func TestLost(t *testing.T) {
	classicOnly(t)
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		var h holder
		lost := make(chan []*Assignment, 10)
		cfg := l.config()
		cfg.CommitEvery = time.Hour
		cfg.Hooks.Lost = func(as []*Assignment) { lost <- as }
		a := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 10 })
		first := h.messages()
		for _, m := range first[:5] {
			m.Done(nil)
		}
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID})
		as := <-lost
		if err := context.Cause(as[0].Context()); !errors.Is(err, ErrLost) {
			t.Errorf("the context's cause is %v, want ErrLost", err)
		}
		if got := l.committed(0); got != 0 {
			t.Errorf("committed %d on lost, want 0", got)
		}
		DoneAll(first) // of the old epoch: nothing
		l.until("handed out again", func() bool { return len(h.messages()) == 20 })
		if s := a.State().Partitions[0]; s.AckMark != 0 || s.Done != 0 || s.Epoch == as[0].Epoch {
			t.Errorf("the new epoch: %+v", s)
		}
		DoneAll(h.messages())
		wantNil(t, a.stop())
		if got := l.committed(0); got != 10 {
			t.Errorf("committed %d, want 10", got)
		}
	})
}

// A commit that is refused because the generation is gone fences everything and joins again: no
// partition is stranded (S10).
func TestFencedCommitJoinsAgain(t *testing.T) {
	for _, fault := range []*kerr.Error{kerr.IllegalGeneration, kerr.UnknownMemberID} {
		t.Run(fault.Message, func(t *testing.T) {
			inLab(t, 2, func(t *testing.T, l *lab) {
				m := l.start(l.config(), nil)
				l.untilCommitted(1, 0)
				h := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: fault})
				l.feed(0, 10)
				wantNil(t, h.Wait(context.Background(), 1))
				l.feed(1, 10)
				l.untilCommitted(0, 10)
				l.untilCommitted(1, 10)
				wantNil(t, m.stop())
			})
		})
	}
}

// Commits that the coordinator answers with "moved", "loading" or "rebalancing", and produce-side
// timeouts of its log, are retried, never dropped (fault 8).
func TestCommitIsRetried(t *testing.T) {
	for _, fault := range []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.RebalanceInProgress, kerr.RequestTimedOut} {
		t.Run(fault.Message, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				m := l.start(l.config(), nil)
				l.untilCommitted(0, 0)
				h := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: fault, Count: 3})
				l.feed(0, 10)
				l.until("three answers", func() bool { return h.Hits() >= 3 })
				l.untilCommitted(0, 10)
				h = l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: fault, Count: 3})
				l.feed(0, 10)
				l.until("done", func() bool { return m.State().Partitions[0].AckMark == 20 })
				wantNil(t, m.stop()) // the last commit too
				if got := l.committed(0); got != 20 {
					t.Errorf("committed %d, want 20", got)
				}
			})
		})
	}
}

func TestCoordinatorMoves(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		for i := range 5 {
			l.feed(0, 10)
			l.cluster.RehashCoordinators()
			l.untilCommitted(0, int64(10*(i+1)))
		}
		wantNil(t, m.stop())
	})
}

// The client got a new member id between a heartbeat and a join without telling: what was held is
// lost.
func TestReplacedMember(t *testing.T) {
	classicOnly(t)
	inLab(t, 2, func(t *testing.T, l *lab) {
		lost := make(chan []*Assignment, 10)
		cfg := l.config()
		cfg.Hooks.Lost = func(as []*Assignment) { lost <- as }
		m := l.start(cfg, nil)
		l.feed(0, 10)
		l.untilCommitted(0, 10)
		before := m.State().Membership.MemberID
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.UnknownMemberID})
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.RebalanceInProgress})
		if n := len(<-lost); n != 2 {
			t.Errorf("%d partitions lost, want 2", n)
		}
		l.feed(0, 10)
		l.feed(1, 10)
		l.untilCommitted(0, 20)
		l.untilCommitted(1, 10)
		if after := m.State().Membership.MemberID; after == before {
			t.Errorf("the member id is still %s", after)
		}
		wantNil(t, m.stop())
	})
}

func TestStaticMember(t *testing.T) {
	classicOnly(t)
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.config()
		cfg.InstanceID = "one"
		m := l.start(cfg, nil)
		l.untilCommitted(0, 10)
		wantNil(t, m.stop())
		if g := l.cluster.GroupInfo(groupName); len(g.Members) != 1 {
			t.Fatalf("the static member left: %d members", len(g.Members))
		}
		l.feed(0, 10)
		again := l.start(cfg, nil)
		l.untilCommitted(0, 20)
		if id := again.State().Membership.InstanceID; id != "one" {
			t.Errorf("instance id %q", id)
		}

		other := l.start(cfg, nil) // a second process with the same id takes over; the first one stops and says why
		err := wantAs[*GroupError](t, again.wait())
		if !errors.Is(err, kerr.FencedInstanceID) {
			t.Errorf("got %v", err)
		}
		l.feed(0, 10)
		l.untilCommitted(0, 30)
		wantNil(t, other.stop())
	})
}

// The next rebalance may begin while the assignments of the last one do: the client reads
// nevertheless, so they must be announced, with everything that is known of them.
func TestAssignmentsBeginWhileTheNextRebalanceDoes(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		var told []*Assignment
		cfg.Hooks.Assigned = func(ctx context.Context, _ Membership, added []*Assignment) {
			if ctx.Err() != nil {
				t.Errorf("announced under a context that ended: %v", context.Cause(ctx))
			}
			told = append(told, added...)
		}
		l.feed(0, 5)
		m := l.start(cfg, nil)
		l.untilCommitted(0, 5)
		over, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := m.group.onOffsets(over, map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(5)}}); err != nil {
			t.Error(err)
		}
		if len(told) != 2 || told[1].Start != 5 || told[1].TopicID == [16]byte{} {
			t.Errorf("announced: %+v", told)
		}
		wantNil(t, m.stop())
	})
}
