package consumer

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// some ends inputs as a test chooses, and keeps the others. It counts how often each offset was
// handed out and done, by all members.
type some struct {
	mu     sync.Mutex
	choose func(*Message) bool
	kept   []*Message
	handed map[int64]int
	done   map[int64]int
}

func newSome(choose func(*Message) bool) *some {
	return &some{choose: choose, handed: map[int64]int{}, done: map[int64]int{}}
}

func (s *some) deliver(b *Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Messages {
		m := &b.Messages[i]
		if !m.Start() {
			continue
		}
		s.handed[m.Offset]++
		if s.choose(m) {
			s.done[m.Offset]++
			m.Done(nil)
		} else {
			s.kept = append(s.kept, m)
		}
	}
}

func (s *some) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.handed)
}

func odd(m *Message) bool { return m.Offset%2 == 1 }

// metadata is what the group has for a partition beside the offset.
func (l *lab) metadata(partition int32) (text string, offset int64, epoch int32) {
	g := l.cluster.GroupInfo(groupName)
	if g == nil {
		return "", -1, -1
	}
	c := g.Commits[topic][partition]
	return c.Metadata, c.Offset, c.LeaderEpoch
}

// setMetadata commits like a tool while no member runs.
func (l *lab) setMetadata(partition int32, offset int64, epoch int32, text string) {
	l.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = groupName, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, offset, epoch, &text
	tp := kmsg.NewOffsetCommitRequestTopic()
	tp.Topic, tp.TopicID, tp.Partitions = topic, l.cluster.TopicInfo(topic).TopicID, []kmsg.OffsetCommitRequestTopicPartition{p}
	req.Topics = append(req.Topics, tp)
	resp, err := req.RequestWith(context.Background(), l.feeder)
	wantNil(l.t, err)
	wantNil(l.t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
}

// leaveOdd leaves a group behind that has done offsets 0 to 9 and the odd ones to 99.
func (l *lab) leaveOdd() {
	l.t.Helper()
	l.feed(0, 100)
	s := newSome(func(m *Message) bool { return m.Offset < 10 || odd(m) })
	m := l.start(l.config(), s.deliver)
	l.until("all handed out", func() bool { return s.count() == 100 })
	m.cancel()
	_ = wantAs[*AbandonedError](l.t, m.wait())
	if got := l.committed(0); got != 10 {
		l.t.Fatalf("committed %d, want 10", got)
	}
}

// What is done out of order when a member goes is not done again: not at a shutdown, not at a crash
// after the last commit.
func TestDoneOutOfOrderIsNotRepeated(t *testing.T) {
	for _, end := range []string{"shutdown", "crash"} {
		t.Run(end, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 1000)
				first := newSome(odd)
				doomed := &crashing{l: l}
				cfg := l.config()
				cfg.Options = append(cfg.Options, kgo.Dialer(doomed.dial))
				a := l.start(cfg, first.deliver)
				l.until("all handed out", func() bool { return first.count() == 1000 })
				time.Sleep(2 * time.Second) // the set is committed although the mark stands
				if text, offset, _ := l.metadata(0); offset != 0 || !donemeta.Ours(text) {
					t.Fatalf("committed %d with %q", offset, text)
				}
				if end == "crash" {
					doomed.kill()
				} else {
					_ = a.stop()
				}
				second := newSome(func(*Message) bool { return true })
				meter := measured.New()
				cfg = l.config()
				cfg.MeterProvider = meter
				b := l.start(cfg, second.deliver)
				l.untilCommitted(0, 1000)
				meter.Collect(t).Want(t, 500, telemetry.Inherited, telemetry.Topic.String(topic))
				if p := b.State().Partitions[0]; p.Inherited != 500 || p.HandedOut != 500 || p.Done != 500 {
					t.Errorf("inherited %d, handed out %d, done %d", p.Inherited, p.HandedOut, p.Done)
				}
				for o := range int64(1000) {
					if second.handed[o] != int(1-o%2) {
						t.Fatalf("offset %d was handed out %d times by the successor", o, second.handed[o])
					}
				}
				if text, _, _ := l.metadata(0); text != "" {
					t.Errorf("nothing is left to say, and the metadata is %q", text)
				}
				wantNil(t, b.stop())
			})
		})
	}
}

// A partition is revoked from a living member while it works out of order.
func TestRevokeHandsTheDoneSetOver(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		for p := range int32(6) {
			l.feed(p, 100)
		}
		type key struct {
			p int32
			o int64
		}
		var mu sync.Mutex
		done := map[key]int{}
		started := 0
		deliver := func(finish func(*Message) bool) func(b *Batch) {
			return func(b *Batch) {
				mu.Lock()
				defer mu.Unlock()
				for i := range b.Messages {
					m := &b.Messages[i]
					if !m.Start() {
						continue
					}
					started++
					if finish(m) {
						done[key{m.Partition, m.Offset}]++
						m.Done(nil)
					}
				}
			}
		}
		a := l.start(l.config(), deliver(odd))
		l.until("all started", func() bool { mu.Lock(); defer mu.Unlock(); return started == 600 })
		b := l.start(l.config(), deliver(func(*Message) bool { return true }))
		l.untilSpread(a, b)
		time.Sleep(5 * time.Second)
		for _, p := range b.State().Partitions {
			if p.Inherited != 50 || p.AckMark != 100 {
				t.Errorf("partition %d: inherited %d, mark %d", p.Partition, p.Inherited, p.AckMark)
			}
		}
		for k, n := range done {
			if n != 1 {
				t.Errorf("%v done %d times", k, n)
			}
		}
		wantNil(t, b.stop())
		_ = a.stop()
	})
}

// The set keeps what it inherited until the mark has passed it, over any number of holders.
func TestDoneSetIsHandedOnAndOn(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	inLab(t, 1, func(t *testing.T, l *lab) {
		txn := l.newClient(kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		defer txn.Close()
		outputs := 0
		for range 60 { // with control records between
			wantNil(t, txn.BeginTransaction())
			for range 1 + rng.IntN(5) {
				txn.Produce(t.Context(), &kgo.Record{Topic: topic, Value: []byte("x")}, nil)
				outputs++
			}
			wantNil(t, txn.EndTransaction(t.Context(), kgo.TryCommit))
		}
		all := newSome(nil)
		for range 6 {
			all.choose = func(*Message) bool { return rng.IntN(3) == 0 }
			m := l.start(l.config(), all.deliver)
			time.Sleep(5 * time.Second)
			_ = m.stop()
		}
		all.choose = func(*Message) bool { return true }
		last := l.start(l.config(), all.deliver)
		l.until("all is done", func() bool {
			held := last.State().Partitions
			return len(held) == 1 && held[0].Lag() == 0
		})
		wantNil(t, last.stop())
		if len(all.done) != outputs {
			t.Errorf("%d of %d are done", len(all.done), outputs)
		}
		for o, n := range all.done {
			if n != 1 {
				t.Errorf("offset %d was done %d times", o, n)
			}
		}
	})
}

// What is committed again only for the set carries the leader epoch of the assignment before: the
// set is bound to it, and a truncation is found by it.
func TestTheLeaderEpochStays(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		for range 3 {
			l.feed(0, 20)
			wantNil(t, l.cluster.MoveTopicPartition(topic, 0, int32(rand.IntN(3))))
		}
		l.feed(0, 40)
		l.leaveUpTo(50)
		_, _, before := l.metadata(0)
		s := newSome(odd)
		m := l.start(l.config(), s.deliver)
		l.until("handed out", func() bool { return s.count() == 50 })
		time.Sleep(3 * time.Second)
		text, offset, epoch := l.metadata(0)
		if offset != 50 || epoch != before || epoch < 1 || !donemeta.Ours(text) {
			t.Errorf("committed %d, epoch %d (before: %d), %q", offset, epoch, before, text)
		}
		_ = m.stop()
		again := newSome(func(*Message) bool { return true })
		b := l.start(l.config(), again.deliver)
		l.untilCommitted(0, 100)
		if again.count() != 25 {
			t.Errorf("%d handed out again, want 25", again.count())
		}
		wantNil(t, b.stop())
	})
}

func (l *lab) leaveUpTo(offset int64) {
	l.t.Helper()
	s := newSome(func(m *Message) bool { return m.Offset < offset })
	m := l.start(l.config(), s.deliver)
	l.untilCommitted(0, offset)
	_ = m.stop()
}

// Whatever does not belong to this very commit is no done-set: everything from the committed offset
// on is handed out (faults 18 and 31).
func TestDoneSetsThatAreNotOurs(t *testing.T) {
	for name, tamper := range map[string]func(l *lab, text string, offset int64, epoch int32) (start int64){
		"an operator's reset": func(l *lab, _ string, _ int64, _ int32) int64 {
			l.setMetadata(0, 5, -1, "")
			return 5
		},
		"a tool that keeps metadata": func(l *lab, text string, _ int64, epoch int32) int64 {
			l.setMetadata(0, 4, epoch, text)
			return 4
		},
		"another leader epoch": func(l *lab, text string, offset int64, epoch int32) int64 {
			l.setMetadata(0, offset, epoch+1, text)
			return offset
		},
		"foreign metadata": func(l *lab, _ string, offset int64, epoch int32) int64 {
			l.setMetadata(0, offset, epoch, "batch-17, by hand")
			return offset
		},
		"damaged": func(l *lab, text string, offset int64, epoch int32) int64 {
			l.setMetadata(0, offset, epoch, text[:len(text)-1]+"!")
			return offset
		},
		"a topic created anew": func(l *lab, text string, offset int64, epoch int32) int64 {
			wantNil(l.t, l.cluster.DeleteTopic(topic))
			wantNil(l.t, l.cluster.CreateTopic(topic, 1, nil))
			l.feeder.PurgeTopicsFromProducing(topic)
			l.feed(0, 100)
			l.setMetadata(0, offset, epoch, text)
			return offset
		},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.leaveOdd()
				text, offset, epoch := l.metadata(0)
				start := tamper(l, text, offset, epoch)
				s := newSome(func(*Message) bool { return true })
				m := l.start(l.config(), s.deliver)
				l.untilCommitted(0, 100)
				p := m.State().Partitions[0]
				if p.Start != start || p.HandedOut != 100-start || p.Inherited != 0 || m.parts.all()[0].assignment.DoneSet != "" {
					t.Errorf("started at %d (want %d), handed out %d, inherited %d", p.Start, start, p.HandedOut, p.Inherited)
				}
				if text, _, _ := l.metadata(0); text != "" {
					t.Errorf("metadata %q", text)
				}
				wantNil(t, m.stop())
			})
		})
	}
	t.Run("untouched", func(t *testing.T) { // so that the above fail for what was changed
		inLab(t, 1, func(t *testing.T, l *lab) {
			l.leaveOdd()
			text, _, _ := l.metadata(0)
			s := newSome(func(*Message) bool { return true })
			var got string
			cfg := l.config()
			cfg.Hooks.Assigned = func(_ context.Context, _ Membership, added []*Assignment) {
				for _, a := range added {
					got = a.DoneSet
				}
			}
			m := l.start(cfg, s.deliver)
			l.untilCommitted(0, 100)
			if s.count() != 45 || got != text {
				t.Errorf("handed out %d, the assignment's done-set is %q, want %q", s.count(), got, text)
			}
			wantNil(t, m.stop())
		})
	})
}

// What the client remembers of a topic may be the deleted one. Before a done-set is applied the
// brokers are asked.
func TestTopicIDsAreFreshForADoneSet(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.leaveOdd()
		m := l.start(l.config(), nil)
		l.until("held", func() bool { return len(m.State().Partitions) == 1 })
		asked := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset()}}
		before, err := m.survey.describe(t.Context(), asked, false)
		wantNil(t, err)
		wantNil(t, l.cluster.DeleteTopic(topic))
		wantNil(t, l.cluster.CreateTopic(topic, 1, nil))
		after, err := m.survey.describe(t.Context(), asked, true)
		wantNil(t, err)
		if id := after[topic].id; id == before[topic].id || id != l.cluster.TopicInfo(topic).TopicID {
			t.Errorf("topic id %x, before %x", id, before[topic].id)
		}
		_ = m.stop()
		tp := topicPartition{topic, 0}
		for text, want := range map[string]bool{"": false, "by hand": false, "am1.x": true} {
			m.group.found[tp] = found{metadata: text}
			if got := m.group.inherits(asked); got != want {
				t.Errorf("%q: %v", text, got)
			}
		}
	})
}

// Brokers with a smaller limit than Kafka's default refuse the commit: it is made without a set,
// and somebody is told.
func TestBrokersThatTakeNoDoneSet(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		s := newSome(func(m *Message) bool { return m.Offset < 10 || odd(m) })
		l.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			r := req.(*kmsg.OffsetCommitRequest)
			if len(*r.Topics[0].Partitions[0].Metadata) == 0 {
				return nil, nil, false
			}
			resp := r.ResponseKind().(*kmsg.OffsetCommitResponse)
			for _, t := range r.Topics {
				rt := kmsg.NewOffsetCommitResponseTopic()
				rt.Topic, rt.TopicID = t.Topic, t.TopicID
				for _, p := range t.Partitions {
					rp := kmsg.NewOffsetCommitResponseTopicPartition()
					rp.Partition, rp.ErrorCode = p.Partition, kerr.OffsetMetadataTooLarge.Code
					rt.Partitions = append(rt.Partitions, rp)
				}
				resp.Topics = append(resp.Topics, rt)
			}
			return resp, nil, true
		})
		cfg := l.config()
		cfg.CommitEvery = time.Hour
		m := l.start(cfg, s.deliver)
		l.until("handed out", func() bool { return s.count() == 100 })
		_ = m.stop() // the last commit, too
		if got := l.committed(0); got != 10 {
			t.Errorf("committed %d", got)
		}
		if !strings.Contains(l.logs.String(), "offset.metadata.max.bytes") {
			t.Error("nobody was told")
		}
	})
}

// An idle partition is not committed again and again.
func TestNothingNewIsNotCommitted(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		s := newSome(odd)
		m := l.start(l.config(), s.deliver)
		l.until("the set is committed", func() bool {
			text, _, _ := l.metadata(0)
			return text != ""
		})
		commits := 0
		l.cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			commits++
			return nil, nil, false
		})
		time.Sleep(30 * time.Second)
		if commits != 0 {
			t.Errorf("%d commits of nothing new", commits)
		}
		_ = m.stop()
	})
}

// Commits made while a join runs carry the set, too.
func TestDoneSetWhileAJoinWaits(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		c, err := New(l.config())
		wantNil(t, err)
		p := newPartition(c.around, &Assignment{Topic: topic, TopicID: [16]byte{1}, Start: 3}, 3)
		r, err := p.add(&kgo.FetchPartition{Records: records(3, 4, 5)}, 0)
		wantNil(t, err)
		r.Messages[1].Done(nil)
		got := c.commits.snapshot([]*partition{p}).points[0]
		runs, err := donemeta.Parse(got.Metadata, donemeta.Binding{TopicID: [16]byte{1}, Base: 3, LeaderEpoch: -1}, nil)
		if err != nil || !slices.Equal(runs, []donemeta.Run{{First: 4, Last: 4}}) || got.Offset != 3 {
			t.Errorf("offset %d, %v, %v", got.Offset, runs, err)
		}
	})
}

func records(offsets ...int64) []*kgo.Record {
	recs := make([]*kgo.Record, len(offsets))
	for i, o := range offsets {
		recs[i] = &kgo.Record{Topic: topic, Offset: o}
	}
	return recs
}

// Fence ends all at once: nothing done from then on is committed, and the partitions are taken up
// again from what the group has.
func TestFence(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		l.feed(1, 10)
		var h holder
		cfg := l.config()
		cfg.CommitEvery = time.Minute
		lost := 0
		cfg.Hooks.Lost = func(as []*Assignment) { lost += len(as) }
		m := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 20 })
		DoneAll(h.messages()[:3]) // done before, not committed: lost with the assignment
		old := h.messages()
		m.Fence(fmt.Errorf("the sidecar has executed the will"))
		for _, in := range old {
			if in.Start() && context.Cause(in.Context()) == nil {
				t.Fatal("a fenced input can be started")
			}
			in.Done(nil)
		}
		done := int64(0)
		for _, p := range m.State().Partitions {
			done += p.Done
		}
		if done > 3 {
			t.Errorf("%d done: what ended after Fence counts", done)
		}
		l.until("handed out again", func() bool { return len(h.messages()) == 40 })
		if lost != 2 || l.committed(0) != 0 || l.committed(1) != 0 {
			t.Errorf("lost %d; committed %d and %d", lost, l.committed(0), l.committed(1))
		}
		if !strings.Contains(l.logs.String(), "executed the will") {
			t.Error("the reason is not told")
		}
		h.letGo()
		wantNil(t, m.stop())
		if l.committed(0) != 10 || l.committed(1) != 10 {
			t.Errorf("committed %d and %d", l.committed(0), l.committed(1))
		}
	})
}

// What the client never gave up is taken up with the done-set, too: its offset and its set come
// from one answer again.
func TestFencedAssignmentTakesTheDoneSetUp(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		s := newSome(func(m *Message) bool { return m.Offset < 10 || odd(m) })
		m := l.start(l.config(), s.deliver)
		l.until("the set is committed", func() bool {
			text, _, _ := l.metadata(0)
			return s.count() == 100 && text != ""
		})
		s.mu.Lock()
		s.choose = func(*Message) bool { return true }
		s.mu.Unlock()
		m.Fence(nil)
		l.untilCommitted(0, 100)
		if p := m.State().Partitions[0]; p.Inherited != 45 || p.HandedOut != 45 {
			t.Errorf("inherited %d, handed out %d", p.Inherited, p.HandedOut)
		}
		wantNil(t, m.stop())
	})
}

// The will left the group for the member that is fenced: it comes back as a new one.
func TestFencedMemberThatWasRemoved(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		var s seen
		m := l.start(l.config(), s.deliver)
		l.until("both held", func() bool { return len(m.State().Partitions) == 2 })
		before := m.State().Membership
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group = groupName
		member := kmsg.NewLeaveGroupRequestMember()
		member.MemberID = before.MemberID
		req.Members = append(req.Members, member)
		_, err := req.RequestWith(t.Context(), l.feeder)
		wantNil(t, err)
		m.Fence(nil)
		l.until("a new member", func() bool {
			s := m.State()
			return s.Joined && s.Membership.MemberID != before.MemberID && len(s.Partitions) == 2
		})
		l.feed(0, 10)
		l.feed(1, 10)
		l.untilCommitted(0, 10)
		l.untilCommitted(1, 10)
		wantNil(t, m.stop())
		if !maps.Equal(s.done[0], s.done[1]) || len(s.done[0]) != 10 {
			t.Errorf("done %v", s.done)
		}
	})
}

// Fence may come at any time.
func TestFenceBeforeAndAfter(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 5)
		c, err := New(l.config())
		wantNil(t, err)
		c.Fence(nil)
		n := 0
		for m, err := range c.Messages(t.Context()) {
			wantNil(t, err)
			m.Done(nil)
			if n++; n == 5 {
				break
			}
		}
		c.Fence(nil)
		if l.committed(0) != 5 {
			t.Errorf("committed %d", l.committed(0))
		}
	})
}
