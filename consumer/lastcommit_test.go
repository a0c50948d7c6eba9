package consumer

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// A topic that is deleted and created again while its inputs are in flight gets no commit of the
// old one, by id or by name.
func TestCommitByNameOfARecreatedTopic(t *testing.T) {
	classicOnly(t)
	for _, delay := range []time.Duration{0, 100 * time.Millisecond, time.Second, 3 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 100)
				cfg := l.config()
				cfg.CommitEvery = 5 * time.Millisecond
				var h holder
				m := l.start(cfg, h.deliver)
				l.until("handed out", func() bool { return len(h.messages()) == 100 })
				wantNil(t, l.cluster.DeleteTopic(topic))
				wantNil(t, l.cluster.CreateTopic(topic, 1, nil))
				l.feeder.PurgeTopicsFromProducing(topic)
				l.feed(0, 200)
				time.Sleep(delay)
				DoneAll(h.messages())
				time.Sleep(time.Minute)
				_ = m.stop()
				if at := l.committed(0); at > 0 {
					t.Errorf("%d of the new topic's 200 inputs are committed, none was read", at)
				}
				var s seen
				again := l.start(l.config(), s.deliver)
				l.untilCommitted(0, 200)
				wantNil(t, again.stop())
				if len(s.done[0]) != 200 {
					t.Errorf("%d of the new topic's 200 inputs were read", len(s.done[0]))
				}
			}, kfake.MaxVersions(kversion.V3_9_0()))
		})
	}
}

// A topic with a regular expression is created again while its revoke drains.
func TestLastCommitOfARecreatedTopic(t *testing.T) {
	classicOnly(t)
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		var h holder
		m := l.start(l.config(), h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 100 })
		m.cancel() // it drains
		l.until("draining", func() bool { return m.life.Stopping() })
		wantNil(t, l.cluster.DeleteTopic(topic))
		wantNil(t, l.cluster.CreateTopic(topic, 1, nil))
		h.letGo()
		err := m.wait()
		wantAs[*UncommittedError](t, err)
		if !errors.Is(err, kerr.InconsistentTopicID) {
			t.Errorf("got %v", err)
		}
		if at := l.committed(0); at > 0 {
			t.Errorf("committed %d in the new topic", at)
		}
	}, kfake.MaxVersions(kversion.V3_9_0()))
}

// While a join runs a commit goes past the client, which would notice that the topic is another
// one: ours is looked at, too.
func TestCommitByNameWhileAJoinRuns(t *testing.T) {
	classicOnly(t)
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		cfg := l.config()
		cfg.CommitEvery = time.Hour
		halted := halts(&cfg)
		var h holder
		m := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 100 })
		m.commits.commitMu.Lock()
		m.commits.joining.Store(true)
		m.commits.commitMu.Unlock()
		wantNil(t, l.cluster.DeleteTopic(topic))
		wantNil(t, l.cluster.CreateTopic(topic, 1, nil))
		DoneAll(h.messages())
		_ = m.commits.commitSome(m.group.ousted)
		if at := l.committed(0); at > 0 {
			t.Errorf("committed %d in the new topic", at)
		}
		if e := <-halted; !strings.Contains(e.Error(), "recreated") {
			t.Errorf("halted with %v", e)
		}
		_ = m.stop()
	}, kfake.MaxVersions(kversion.V3_9_0()))
}

// What is due goes out in requests below the broker's limit, while a join runs too.
func TestLargeCommitsAreSplit(t *testing.T) {
	inLab(t, 300, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.until("all assigned", func() bool { return len(m.State().Partitions) == 300 })
		var requests, largest atomic.Int64
		l.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			size := int64(len(req.AppendTo(nil)))
			requests.Add(1)
			largest.Store(max(largest.Load(), size))
			return nil, nil, false
		})
		for _, joining := range []bool{false, true} {
			points := allDue(m.Consumer)
			requests.Store(0)
			m.commits.commitMu.Lock()
			m.commits.joining.Store(joining)
			err := m.commits.sendAll(*m.group.current.Load(), points)
			m.commits.joining.Store(false)
			m.commits.commitMu.Unlock()
			wantNil(t, err)
			if n := requests.Load(); n < 2 || largest.Load() > 1_000_000 {
				t.Errorf("joining %v: %d requests, the largest of %d bytes", joining, n, largest.Load())
			}
			for p := range int32(300) {
				if l.committed(p) != 1 {
					t.Fatalf("joining %v: partition %d has %d", joining, p, l.committed(p))
				}
			}
		}
		wantNil(t, m.stop())
	})
}

// allDue is a commit of offset 1 for everything held, with the longest metadata.
func allDue(c *Consumer) (d due) {
	for _, p := range c.parts.all() {
		d.add(groupcommit.Point{
			Topic: p.assignment.Topic, TopicID: p.assignment.TopicID, Partition: p.assignment.Partition, Offset: 1, LeaderEpoch: -1,
			Metadata: strings.Repeat("x", donemeta.MaxText),
		}, dueOf{p: p})
	}
	return d
}

// One request that is refused does not keep what the others carry, and one of a lost membership
// ends it.
func TestSplitCommitGoesOn(t *testing.T) {
	inLab(t, 300, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.until("all assigned", func() bool { return len(m.State().Partitions) == 300 })
		points := allDue(m.Consumer)
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownServerError, Count: 1})
		m.commits.commitMu.Lock()
		err := m.commits.sendAll(*m.group.current.Load(), points)
		m.commits.commitMu.Unlock()
		if !errors.Is(err, kerr.UnknownServerError) {
			t.Errorf("got %v", err)
		}
		done := 0
		for p := range int32(300) {
			if l.committed(p) == 1 {
				done++
			}
		}
		if done < 100 || done >= 300 {
			t.Errorf("%d of 300 are committed", done)
		}
		_ = m.stop()
	})
}

// The fence is looked at again when a commit is about to be written: the assignment may have ended
// while the commit waited (S2).
func TestPrepareRefusesAFencedAssignment(t *testing.T) {
	c, err := New(minimal())
	wantNil(t, err)
	p := newPartition(c.around, &Assignment{Topic: "t", Epoch: 1}, -1)
	m := Membership{Group: "g", MemberID: "m", Generation: 3}
	var d due
	d.add(groupcommit.Point{Topic: "t", Offset: 5}, dueOf{p: p})
	req := kmsg.NewPtrOffsetCommitRequest()
	req.MemberID, req.Generation = "m", 3
	wantNil(t, prepare(req, m, d))
	p.fence(ErrRevoked)
	if err := prepare(req, m, d); !errors.Is(err, groupcommit.ErrStale) {
		t.Errorf("a fenced point is committed: %v", err)
	}
}

// Partitions that are stuck share one drain deadline.
func TestDrainDeadlineIsOneForAll(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		for p := range int32(6) {
			l.feed(p, 3)
		}
		var h holder
		m := l.start(l.config(), h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 18 })
		begun := time.Now()
		e := wantAs[*AbandonedError](t, m.stop())
		if took := time.Since(begun); took > DefaultDrainTimeout+time.Second || len(e.Partitions) != 6 {
			t.Errorf("%d stuck partitions took %s, DrainTimeout is %s", len(e.Partitions), took, DefaultDrainTimeout)
		}
	})
}

// A last commit that fails is an error of Run and of Close, and so is a group that could not be
// left.
func TestFailedLastCommitIsAnError(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.config()
		cfg.CommitEvery = time.Hour
		m := l.start(cfg, nil)
		l.until("done", func() bool { s := m.State(); return len(s.Partitions) == 1 && s.Partitions[0].Done == 10 })
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownServerError, Count: -1})
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.LeaveGroup}, Err: kerr.GroupAuthorizationFailed, Count: -1})
		err := m.stop()
		if e := wantAs[*UncommittedError](t, err); !errors.Is(e, kerr.UnknownServerError) || e.Group != groupName {
			t.Errorf("got %v", err)
		}
		if got := fmt.Sprint(m.Close()); got != fmt.Sprint(err) {
			t.Errorf("Close says %s, Run said %v", got, err)
		}
	})
}

// A coordinator that has not heard of a topic yet answers UNKNOWN_TOPIC_ID, as for one that is
// gone: while the brokers know the topic under this id, that passes, and halts nothing.
func TestCoordinatorThatLagsBehindANewTopic(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: topic, Err: kerr.UnknownTopicID, Count: 4})
		l.feed(0, 10)
		var h holder
		m := l.start(l.config(), h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 10 })
		DoneAll(h.messages())
		l.untilCommitted(0, 10)
		if s := m.State(); len(s.Partitions) != 1 || s.Partitions[0].Halted != nil {
			t.Errorf("%+v", s.Partitions)
		}
		wantNil(t, m.stop())
	})
}
