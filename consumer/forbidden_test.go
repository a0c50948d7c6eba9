package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const forbidden = "secret"

// feedForbidden writes to the other topic.
func (l *lab) feedForbidden(n int) {
	l.t.Helper()
	for range n {
		wantNil(l.t, l.feeder.ProduceSync(l.t.Context(), &kgo.Record{Topic: forbidden, Value: []byte("x")}).FirstErr())
	}
}

func (l *lab) forbiddenCommitted(offset int64) {
	l.t.Helper()
	l.until("the topic is read", func() bool {
		all, err := kadm.NewClient(l.feeder).FetchOffsets(l.t.Context(), groupName)
		o, ok := all.Lookup(forbidden, 0)
		return err == nil && ok && o.At == offset
	})
}

// The coordinator does not tell this principal what is committed for one topic: the topic waits,
// named by State and Check with what to do, the others are read, and it is read when the right is
// granted. It is one join for all of that.
func TestOneForbiddenTopicWaits(t *testing.T) {
	classicOnly(t)
	for _, id := range []string{"by topic id", "by name"} {
		t.Run(id, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				wantNil(t, l.cluster.CreateTopic(forbidden, 1, nil))
				l.feed(0, 10)
				l.feedForbidden(5)
				right := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: forbidden, Err: kerr.TopicAuthorizationFailed, Count: -1})
				cfg := l.config()
				cfg.Topics = append(cfg.Topics, forbidden)
				cfg.Hooks.Lost = func([]*Assignment) { t.Error("assignments were lost") }
				if id == "by name" {
					cfg.Options = append(cfg.Options, kgo.MaxVersions(kversion.V2_7_0()))
				}
				m := l.start(cfg, nil)
				l.untilCommitted(0, 10)
				time.Sleep(time.Minute)
				l.feed(0, 3)
				l.untilCommitted(0, 13)
				if s := m.State(); s.Err != nil || len(s.Waiting) != 1 || s.Waiting[0].Topic != forbidden || !errors.Is(s.Waiting[0], kerr.TopicAuthorizationFailed) {
					t.Errorf("it stopped by %v, waiting: %v", s.Err, s.Waiting)
				}
				if err := m.Check(t.Context()); !errors.Is(err, kerr.TopicAuthorizationFailed) || !strings.Contains(err.Error(), forbidden) || !strings.Contains(err.Error(), "grant READ") {
					t.Errorf("Check: %v", err)
				}
				right.Remove()
				l.forbiddenCommitted(5)
				wantNil(t, m.Check(t.Context()))
				wantNil(t, m.stop())
			})
		})
	}
}

// The coordinator takes no commits of one topic: the others' are taken, Check says so, and when the
// right is granted that topic's are, too.
func TestOneTopicThatMayNotBeCommitted(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		wantNil(t, l.cluster.CreateTopic(forbidden, 1, nil))
		cfg := l.config()
		cfg.Topics = append(cfg.Topics, forbidden)
		m := l.start(cfg, nil)
		l.until("both are read", func() bool { return len(m.State().Partitions) == 2 })
		right := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: forbidden, Err: kerr.TopicAuthorizationFailed, Count: -1})
		l.feedForbidden(5)
		time.Sleep(10 * time.Second)
		l.feed(0, 10)
		l.untilCommitted(0, 10)
		time.Sleep(10 * time.Second)
		if s := m.State(); s.Err != nil || len(s.Partitions) != 2 {
			t.Errorf("it stopped by %v, %d partitions are held", s.Err, len(s.Partitions))
		}
		if err := m.Check(t.Context()); !errors.Is(err, kerr.TopicAuthorizationFailed) || !strings.Contains(err.Error(), forbidden) {
			t.Errorf("Check: %v", err)
		}
		right.Remove()
		l.forbiddenCommitted(5)
		wantNil(t, m.Check(t.Context()))
		wantNil(t, m.stop())
	})
}

// A context that ends for want of anybody who takes the work ends Run without the drain: what is
// done is committed, what was started is named. Any other cause waits for it.
func TestNoDrain(t *testing.T) {
	for _, c := range []struct {
		cause  error
		at, by time.Duration
	}{
		{fmt.Errorf("the producer is refused: %w", ErrNoDrain), 0, time.Second},
		{errors.New("enough"), DefaultDrainTimeout, DefaultDrainTimeout + time.Second},
	} {
		inLab(t, 1, func(t *testing.T, l *lab) {
			l.feed(0, 5)
			consumer, err := New(l.config())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- consumer.Run(ctx, func(b *Batch) {
					for i := range b.Messages {
						if m := &b.Messages[i]; m.Start() && m.Offset < 2 {
							m.Done(nil)
						}
					}
				})
			}()
			l.until("handed out", func() bool { s := consumer.State(); return len(s.Partitions) == 1 && s.Partitions[0].HandedOut == 5 })
			begun := time.Now()
			cancel(c.cause)
			abandoned := wantAs[*AbandonedError](t, <-ended)
			if took := time.Since(begun); took < c.at || took > c.by {
				t.Errorf("%v: it took %v", c.cause, took)
			}
			if abandoned.Partitions[0].Count != 3 || l.committed(0) != 2 {
				t.Errorf("%v: %v, committed %d", c.cause, abandoned, l.committed(0))
			}
		})
	}
}
