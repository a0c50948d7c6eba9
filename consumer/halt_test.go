package consumer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// halts collects what OnHalt was called with.
func halts(cfg *Config) chan *HaltError {
	ch := make(chan *HaltError, 10)
	cfg.OnHalt = func(e *HaltError) { ch <- e }
	return ch
}

// run reads n inputs, commits them and stops, so that the group has an offset.
func (l *lab) commitUpTo(partition int32, offset int64) {
	l.t.Helper()
	m := l.start(l.config(), nil)
	l.untilCommitted(partition, offset)
	wantNil(l.t, m.stop())
}

func TestDoneWithAnErrorHaltsThatPartitionOnly(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		l.feed(1, 10)
		cfg := l.config()
		halted := halts(&cfg)
		poison := errors.New("poison")
		m := l.start(cfg, func(b *Batch) {
			for i := range b.Messages {
				in := &b.Messages[i]
				if !in.Start() {
					continue
				}
				if in.Partition == 0 && in.Offset == 4 {
					in.Done(poison)
					in.Done(nil) // the first wins
					continue
				}
				in.Done(nil)
			}
		})
		e := <-halted
		if e.Topic != topic || e.Partition != 0 || e.Offset != 4 || !errors.Is(e, poison) {
			t.Errorf("halted with %+v", e)
		}
		l.untilCommitted(0, 4)
		l.untilCommitted(1, 10)
		l.feed(0, 10)
		l.feed(1, 10)
		l.untilCommitted(1, 20)
		s := m.State().Partitions[0]
		if s.Halted == nil || !s.Paused || s.Committed != 4 {
			t.Errorf("state: %+v", s)
		}
		if err := m.Check(l.t.Context()); !errors.Is(err, poison) {
			t.Errorf("Check: %v", err)
		}
		wantNil(t, m.stop())
		if len(halted) != 0 {
			t.Error("OnHalt was called twice")
		}
	})
}

func TestHaltIsYieldedOnce(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 3)
		l.feed(1, 3)
		c, err := New(l.config())
		wantNil(t, err)
		good, errs := 0, 0
		for m, err := range c.Messages(t.Context()) {
			if err != nil {
				e := wantAs[*HaltError](t, err)
				if e.Partition != 0 || e.Offset != 0 {
					t.Errorf("halted: %v", e)
				}
				errs++
			} else if m.Partition == 0 {
				m.Done(errors.New("no"))
			} else {
				m.Done(nil)
				good++
			}
			if good == 3 && errs == 1 {
				break
			}
		}
		wantNil(t, c.Close())
		if l.committed(0) != 0 || l.committed(1) != 3 {
			t.Errorf("committed %d and %d", l.committed(0), l.committed(1))
		}
	})
}

func TestOutOfRangeHalts(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		l.feed(1, 10)
		l.commitUpTo(0, 10)
		l.feed(0, 90)
		wantNil(t, l.cluster.DeleteRecords(topic, 0, 50))
		cfg := l.config()
		halted := halts(&cfg)
		m := l.start(cfg, nil)
		e := <-halted
		if e.Partition != 0 || e.Offset != 10 || e.LostFrom != 10 || e.LostTo != 50 || !errors.Is(e, kerr.OffsetOutOfRange) {
			t.Errorf("halted: %+v", e)
		}
		if !strings.Contains(e.Error(), "offsets 10 to 49 are lost") || !strings.Contains(e.Error(), "OnOutOfRange") {
			t.Errorf("the error does not say what was lost and what to do: %v", e)
		}
		l.feed(1, 5)
		l.untilCommitted(1, 15)
		wantNil(t, m.stop())
		if got := l.committed(0); got != 10 {
			t.Errorf("committed %d, want 10", got)
		}
	})
}

func TestOutOfRangeByChoice(t *testing.T) {
	for _, policy := range []OutOfRange{ResetEarliest, ResetLatest} {
		t.Run(policy.String(), func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 10)
				l.commitUpTo(0, 10)
				l.feed(0, 90)
				wantNil(t, l.cluster.DeleteRecords(topic, 0, 50))
				var s seen
				cfg := l.config()
				meter := measured.New()
				cfg.OnOutOfRange, cfg.MeterProvider = policy, meter
				m := l.start(cfg, s.deliver)
				l.until("joined", func() bool { return m.State().Joined })
				time.Sleep(5 * time.Second)
				l.feed(0, 10)
				l.untilCommitted(0, 110)
				first := int64(50)
				if policy == ResetLatest {
					first = 100
				}
				p := m.State().Partitions[0]
				meter.Collect(t).Want(t, float64(first-10), telemetry.Lost, telemetry.Topic.String(topic))
				if p.Lost != first-10 || len(s.done[0]) != int(110-first) {
					t.Errorf("lost %d, done %d", p.Lost, len(s.done[0]))
				}
				wantNil(t, m.stop())
			})
		})
	}
}

// The committed offset lies beyond the end of the log: it was truncated, or the topic recreated,
// while nobody read.
func TestCommittedBeyondTheEnd(t *testing.T) {
	truncate := func(l *lab) {
		l.feed(0, 100)
		l.commitUpTo(0, 100)
		g := l.cluster.GroupInfo(groupName).Commits[topic][0]
		wantNil(l.t, l.cluster.DeleteTopic(topic))
		wantNil(l.t, l.cluster.CreateTopic(topic, 1, nil))
		l.feeder.PurgeTopicsFromProducing(topic)
		l.feed(0, 10)
		l.setCommitted(0, g.Offset) // deleting a topic deletes the group's offsets too: as if by a tool
	}
	t.Run("halt", func(t *testing.T) {
		inLab(t, 1, func(t *testing.T, l *lab) {
			truncate(l)
			cfg := l.config()
			halted := halts(&cfg)
			m := l.start(cfg, nil)
			if e := <-halted; e.Offset != 100 {
				t.Errorf("halted: %+v", e)
			}
			wantNil(t, m.stop())
			if got := l.committed(0); got != 100 {
				t.Errorf("committed %d, want 100", got)
			}
		})
	})
	t.Run("earliest", func(t *testing.T) {
		inLab(t, 1, func(t *testing.T, l *lab) {
			truncate(l)
			var s seen
			cfg := l.config()
			cfg.OnOutOfRange = ResetEarliest
			m := l.start(cfg, s.deliver)
			l.untilCommitted(0, 10)
			if len(s.done[0]) != 10 {
				t.Errorf("done %d, want 10", len(s.done[0]))
			}
			wantNil(t, m.stop())
		})
	})
}

// setCommitted does what an operator's tool does while no member runs.
func (l *lab) setCommitted(partition int32, offset int64) {
	l.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = groupName, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	tp := kmsg.NewOffsetCommitRequestTopic()
	tp.Topic, tp.TopicID, tp.Partitions = topic, l.cluster.TopicInfo(topic).TopicID, []kmsg.OffsetCommitRequestTopicPartition{p}
	req.Topics = append(req.Topics, tp)
	resp, err := req.RequestWith(context.Background(), l.feeder)
	wantNil(l.t, err)
	wantNil(l.t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
}

// Nothing that was counted in the old topic is committed or skipped in the new one (fault 18).
func TestRecreatedTopicHalts(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 100)
		cfg := l.config()
		halted := halts(&cfg)
		var h holder
		m := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 100 })
		wantNil(t, l.cluster.DeleteTopic(topic))
		wantNil(t, l.cluster.CreateTopic(topic, 1, nil))
		l.feeder.PurgeTopicsFromProducing(topic)
		l.feed(0, 200)
		e := <-halted
		if !strings.Contains(e.Error(), "recreated") {
			t.Errorf("halted: %v", e)
		}
		DoneAll(h.messages())
		_ = m.stop()
		if got := l.committed(0); got > 0 {
			t.Errorf("committed %d in the new topic", got)
		}
		again := l.start(l.config(), nil)
		l.untilCommitted(0, 200)
		wantNil(t, again.stop())
	})
}

// Without the right to read the topic any more the partition halts and says so (fault 17).
func TestReadingForbidden(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		halted := halts(&cfg)
		m := l.start(cfg, nil)
		l.untilCommitted(0, 0)
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.TopicAuthorizationFailed, Count: -1})
		l.feed(0, 1)
		if e := <-halted; !strings.Contains(e.Error(), "grant READ") {
			t.Errorf("halted: %v", e)
		}
		wantNil(t, m.stop())
	})
}

func TestCommittingForbidden(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.untilCommitted(0, 0)
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: -1})
		l.feed(0, 1)
		err := wantAs[*GroupError](t, m.wait())
		if !strings.Contains(err.Error(), "grant READ on the group") {
			t.Errorf("got %v", err)
		}
	})
}
