package consumer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// leaderless takes a partition its leader until the handle is removed.
func (l *lab) leaderless(topic string, partition int32) *kfake.FaultHandle {
	return l.cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Partitions: []int32{partition}, Err: kerr.LeaderNotAvailable, Count: -1,
	})
}

// A partition without a leader waits alone: the others are read, Check and State name it, and it
// joins when it has a leader.
func TestLeaderlessAtTheStart(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		l.feed(1, 7)
		fault := l.leaderless(topic, 1)
		var joins atomic.Int64
		cfg := l.config()
		cfg.Hooks.Lost = func([]*Assignment) { t.Error("assignments were lost") }
		cfg.Hooks.Assigned = func(_ context.Context, m Membership, _ []*Assignment) { joins.Store(int64(m.Generation)) }
		m := l.start(cfg, nil)
		l.untilCommitted(0, 10)
		time.Sleep(time.Minute)
		if w := m.State().Waiting; len(w) != 1 || w[0].Topic != topic || w[0].Partition != 1 || !errors.Is(w[0], kerr.LeaderNotAvailable) {
			t.Errorf("waiting: %v", w)
		}
		if err := m.Check(t.Context()); !errors.Is(err, kerr.LeaderNotAvailable) || !strings.Contains(err.Error(), "in partition 1") {
			t.Errorf("Check: %v", err)
		}
		if g := joins.Load(); g != 1 {
			t.Errorf("joined %d times because of one partition", g)
		}
		fault.Remove()
		l.untilCommitted(1, 7)
		l.feed(1, 3)
		l.untilCommitted(1, 10)
		wantNil(t, m.Check(t.Context()))
		if s := m.State(); len(s.Waiting) != 0 || len(s.Partitions) != 2 {
			t.Errorf("state: %+v", s)
		}
		wantNil(t, m.stop())
	})
}

// A leaderless partition of a topic that a regular expression adds costs the running assignments
// nothing.
func TestLeaderlessAdded(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.config()
		cfg.Topics, cfg.Regex = nil, "^in"
		cfg.Options = append(cfg.Options, kgo.MetadataMaxAge(5*time.Second), kgo.MetadataMinAge(time.Second))
		cfg.Hooks.Lost = func([]*Assignment) { t.Error("assignments were lost") }
		var h holder
		m := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 10 })
		fault := l.leaderless("in2", 1)
		wantNil(t, l.cluster.CreateTopic("in2", 2, nil))
		l.until("it waits", func() bool { return len(m.State().Waiting) == 1 && len(m.State().Partitions) == 2 })
		time.Sleep(2 * time.Minute)
		if n := len(h.messages()); n != 10 {
			t.Errorf("10 inputs were handed out %d times", n)
		}
		fault.Remove()
		l.until("it joined", func() bool { return len(m.State().Partitions) == 3 })
		h.letGo()
		l.untilCommitted(0, 10)
		wantNil(t, m.stop())
	})
}

// A partition that waits and leaves is not ours any more, and one that comes back is read: its
// pause at the client went with it.
func TestWaitingPartitionMoves(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		fault := l.leaderless(topic, 1)
		cfg := l.config()
		a := l.start(cfg, nil)
		l.until("it waits", func() bool { return len(a.State().Waiting) == 1 })
		b := l.start(cfg, nil)
		l.until("one each", func() bool {
			return len(a.State().Waiting)+len(a.State().Partitions) == 1 && len(b.State().Waiting)+len(b.State().Partitions) == 1
		})
		stays, leaves := a, b
		if len(a.State().Waiting) == 0 {
			stays, leaves = b, a
		}
		fault.Remove()
		wantNil(t, stays.stop())
		l.until("all at one", func() bool { return len(leaves.State().Partitions) == 2 })
		l.feed(0, 5)
		l.feed(1, 5)
		l.untilCommitted(0, 5)
		l.untilCommitted(1, 5)
		wantNil(t, leaves.stop())
	})
}

// The coordinator refuses to say what is committed for one partition: it alone waits, and is read
// when the error heals.
func TestOffsetFetchErrorOfOnePartition(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.UnknownTopicID, kerr.UnknownServerError, kerr.UnknownTopicOrPartition} {
		t.Run(e.Message, func(t *testing.T) {
			inLab(t, 2, func(t *testing.T, l *lab) {
				l.feed(0, 10)
				l.feed(1, 10)
				fault := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: topic, Partitions: []int32{0}, Err: e, Count: -1})
				m := l.start(l.config(), nil)
				l.untilCommitted(1, 10)
				time.Sleep(30 * time.Second)
				if w := m.State().Waiting; len(w) != 1 || w[0].Partition != 0 || !errors.Is(w[0], e) {
					t.Errorf("waiting: %v", w)
				}
				if err := m.Check(t.Context()); !errors.Is(err, e) {
					t.Errorf("Check: %v", err)
				}
				fault.Remove()
				l.untilCommitted(0, 10)
				wantNil(t, m.Check(t.Context()))
				wantNil(t, m.stop())
			})
		})
	}
}

// Latest with committed records only begins at the last stable offset: what an open transaction
// wrote becomes visible later.
func TestLatestOfCommittedRecords(t *testing.T) {
	for name, start := range map[string]Start{"latest": Latest, "in the future": StartAt(time.Now().Add(1000 * time.Hour))} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 10)
				tx := l.newClient(kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
				defer tx.Close()
				wantNil(t, tx.BeginTransaction())
				for range 3 {
					wantNil(t, tx.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr())
				}
				cfg := l.config()
				cfg.Start, cfg.ReadCommitted = start, true
				if start != Latest {
					cfg.Start = StartAt(time.Now().Add(time.Hour))
				}
				m := l.start(cfg, nil)
				l.until("assigned", func() bool { return len(m.State().Partitions) == 1 })
				if at := m.State().Partitions[0].Start; at != 10 {
					t.Errorf("starts at %d, behind the open transaction", at)
				}
				wantNil(t, tx.EndTransaction(t.Context(), kgo.TryCommit))
				l.untilCommitted(0, 14)
				if done := m.State().Partitions[0].Done; done != 3 {
					t.Errorf("%d of 3 were handed out", done)
				}
				wantNil(t, m.stop())
			})
		})
	}
}

// A record that is written after a start by time found nothing is not skipped, wherever the end is
// by then.
func TestStartAtWhileRecordsArrive(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		time.Sleep(time.Minute)
		cfg := l.config()
		cfg.Start = StartAt(time.Now())
		time.Sleep(time.Second)
		var byTime, fed atomic.Bool
		l.cluster.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			if r.(*kmsg.ListOffsetsRequest).Topics[0].Partitions[0].Timestamp >= 0 {
				byTime.Store(true)
			} else if byTime.Load() && !fed.Swap(true) {
				l.cluster.SleepControl(func() { l.feed(0, 5) })
			}
			return nil, nil, false
		})
		m := l.start(cfg, nil)
		l.until("assigned", func() bool { return len(m.State().Partitions) == 1 })
		if !fed.Load() {
			l.feed(0, 5)
		}
		l.untilCommitted(0, 15)
		if done := m.State().Partitions[0].Done; done != 5 {
			t.Errorf("%d of 5 were handed out", done)
		}
		wantNil(t, m.stop())
	})
}

// Latest is for topics that are new to the group: what was added to a known one while nobody read
// is read from its start.
func TestLatestOfAKnownTopic(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.config()
		cfg.Start = Latest
		m := l.start(cfg, nil)
		l.untilCommitted(0, 10)
		l.untilCommitted(1, 0)
		wantNil(t, m.stop())
		l.addPartitions(topic, 1)
		l.feed(2, 50)
		m = l.start(cfg, nil)
		l.untilCommitted(2, 50)
		if done := m.State().Partitions[2].Done; done != 50 {
			t.Errorf("%d of 50 were handed out", done)
		}
		wantNil(t, m.stop())
	})
}

// The client that asks what the group knows takes all options of an existing one, and does not
// join.
func TestLatestWithTheOptionsOfAnExistingClient(t *testing.T) {
	for name, opts := range map[string][]kgo.Opt{
		"names": {kgo.ConsumeTopics(topic)},
		"regex": {kgo.ConsumeTopics("^in$"), kgo.ConsumeRegex()},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 10)
				cfg := l.config()
				cfg.Start, cfg.Topics, cfg.Group, cfg.Brokers = Latest, nil, "", nil
				cfg.Options = append(cfg.Options, kgo.SeedBrokers("localhost:9092"), kgo.ConsumerGroup(groupName), kgo.InstanceID("i"), kgo.DisableAutoCommit(),
					kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(20*time.Second), kgo.Balancers(kgo.CooperativeStickyBalancer()))
				cfg.Options = append(cfg.Options, opts...)
				m := l.start(cfg, nil)
				l.untilCommitted(0, 10)
				if g := l.cluster.GroupInfo(groupName); len(g.Members) != 1 || m.State().Membership.Generation != 1 {
					t.Errorf("%d members, generation %d", len(g.Members), m.State().Membership.Generation)
				}
				wantNil(t, m.stop())
			})
		})
	}
}

// The members of a new group divide a topic: what the first one commits does not make the others
// read it from the start.
func TestLatestOfANewGroupOfMany(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		for p := range int32(6) {
			l.feed(p, 10)
		}
		cfg := l.config()
		cfg.Start = Latest
		var mu sync.Mutex
		var starts []int64
		cfg.Hooks.Assigned = func(_ context.Context, _ Membership, added []*Assignment) {
			mu.Lock()
			defer mu.Unlock()
			for _, a := range added {
				starts = append(starts, a.Start)
			}
		}
		var ms []*member
		for range 3 {
			ms = append(ms, l.start(cfg, nil))
		}
		l.until("two each", func() bool {
			return !slices.ContainsFunc(ms, func(m *member) bool { return len(m.State().Partitions) != 2 })
		})
		mu.Lock()
		defer mu.Unlock()
		if slices.Min(starts) != 10 {
			t.Errorf("starts %v, want 10 everywhere", starts)
		}
		for _, m := range ms {
			wantNil(t, m.stop())
		}
	})
}

// The reason of a start that does not come is said once, not every half second.
func TestNotStartedIsSaidOnce(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.Topics = []string{"missing"}
		m := l.start(cfg, nil)
		wantAs[*StartError](t, m.wait())
		if n := strings.Count(l.logs.String(), "not started yet"); n == 0 || n > 7 {
			t.Errorf("said %d times in a minute", n)
		}
	})
}
