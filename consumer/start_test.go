package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestStart(t *testing.T) {
	for name, c := range map[string]struct {
		start func(between time.Time) Start
		want  int64
	}{
		"default":  {func(time.Time) Start { return 0 }, 0},
		"earliest": {func(time.Time) Start { return Earliest }, 0},
		"latest":   {func(time.Time) Start { return Latest }, 20},
		"time":     {StartAt, 10},
		"future":   {func(t time.Time) Start { return StartAt(t.Add(time.Hour)) }, 20},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.feed(0, 10)
				time.Sleep(time.Minute)
				between := time.Now()
				time.Sleep(time.Minute)
				l.feed(0, 10)
				cfg := l.config()
				cfg.Start = c.start(between)
				m := l.start(cfg, func(*Batch) {})
				// The start is committed although nothing is done: a crash now must not look
				// "latest" up again.
				l.untilCommitted(0, c.want)
				if s := m.State().Partitions[0]; s.Start != c.want || s.AckMark != c.want {
					t.Errorf("state: %+v", s)
				}
				wantNil(t, m.stop())
				cfg.Start = Latest // only where the group has nothing
				m = l.start(cfg, nil)
				l.untilCommitted(0, 20)
				l.until("assigned", func() bool { return len(m.State().Partitions) == 1 })
				if s := m.State().Partitions[0]; s.Start != c.want {
					t.Errorf("the second start is %d, want %d", s.Start, c.want)
				}
				wantNil(t, m.stop())
			})
		})
	}
}

// Partitions that are added while the consumer runs are read from their first offset, with Latest
// too (fault 19).
func TestPartitionsAdded(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.config()
		cfg.Start = Latest
		cfg.Options = append(cfg.Options, kgo.MetadataMaxAge(5*time.Second), kgo.MetadataMinAge(time.Second))
		m := l.start(cfg, nil)
		l.untilCommitted(0, 10)
		l.addPartitions(topic, 1)
		l.feed(1, 7)
		l.untilCommitted(1, 7)
		if done := m.State().Partitions[1].Done; done != 7 {
			t.Errorf("done %d, want 7", done)
		}
		wantNil(t, m.stop())
	})
}

func (l *lab) addPartitions(topic string, n int) {
	l.t.Helper()
	_, err := kadm.NewClient(l.feeder).CreatePartitions(context.Background(), n, topic)
	wantNil(l.t, err)
	l.feeder.ForceMetadataRefresh()
	time.Sleep(time.Second)
}

func TestRegex(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.Topics, cfg.Regex = nil, "^in.*"
		cfg.Options = append(cfg.Options, kgo.MetadataMaxAge(5*time.Second), kgo.MetadataMinAge(time.Second))
		m := l.start(cfg, nil)
		l.feed(0, 5)
		l.untilCommitted(0, 5)
		wantNil(t, l.cluster.CreateTopic("in2", 1, nil))
		wantNil(t, l.cluster.CreateTopic("other", 1, nil))
		l.until("the new topic is read", func() bool { return len(m.State().Partitions) == 2 })
		wantNil(t, m.stop())
	})
}

// A topic that appears later is read from its first offset, with Latest too.
func TestTopicAdded(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.config()
		cfg.Topics, cfg.Regex, cfg.Start = nil, "^in", Latest
		cfg.Options = append(cfg.Options, kgo.MetadataMaxAge(5*time.Second), kgo.MetadataMinAge(time.Second))
		m := l.start(cfg, nil)
		l.untilCommitted(0, 10)
		wantNil(t, l.cluster.CreateTopic("in2", 1, nil))
		wantNil(t, l.feeder.ProduceSync(t.Context(), &kgo.Record{Topic: "in2", Value: []byte("x")}).FirstErr())
		l.until("the new topic is done", func() bool {
			s := m.State()
			return len(s.Partitions) == 2 && s.Partitions[1].Done == 1 && s.Partitions[0].Done == 0
		})
		wantNil(t, m.stop())
	})
}

// The ack mark crosses transaction markers and aborted records (fault 32).
func TestControlRecords(t *testing.T) {
	for _, readCommitted := range []bool{false, true} {
		inLab(t, 1, func(t *testing.T, l *lab) {
			tx := l.newClient(kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			defer tx.Close()
			ctx := context.Background()
			write := func(commit kgo.TransactionEndTry) {
				wantNil(t, tx.BeginTransaction())
				for range 3 {
					wantNil(t, tx.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr())
				}
				wantNil(t, tx.EndTransaction(ctx, commit))
			}
			write(kgo.TryCommit)
			write(kgo.TryAbort)
			write(kgo.TryCommit)
			var s seen
			cfg := l.config()
			cfg.ReadCommitted = readCommitted
			m := l.start(cfg, s.deliver)
			l.untilCommitted(0, 12) // 9 records and 3 markers
			want := 9
			if readCommitted {
				want = 6
			}
			if len(s.done[0]) != want {
				t.Errorf("read committed %v: done %d, want %d", readCommitted, len(s.done[0]), want)
			}
			write(kgo.TryAbort) // with read_committed only a marker arrives
			l.untilCommitted(0, 16)
			if lag := m.State().Lag(); lag != 0 {
				t.Errorf("lag %d", lag)
			}
			wantNil(t, m.stop())
		})
	}
}
