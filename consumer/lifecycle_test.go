package consumer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

func TestRunTwice(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.untilCommitted(0, 0)
		if err := m.Run(t.Context(), nil); !errors.Is(err, ErrAlreadyRun) {
			t.Errorf("while running: %v", err)
		}
		wantNil(t, m.stop())
		if err := m.Run(t.Context(), nil); !errors.Is(err, ErrAlreadyRun) {
			t.Errorf("after: %v", err)
		}
		for _, err := range m.Messages(t.Context()) {
			if !errors.Is(err, ErrAlreadyRun) {
				t.Errorf("Messages after: %v", err)
			}
		}
	})
}

func TestCloseBeforeRun(t *testing.T) {
	c, err := New(minimal())
	wantNil(t, err)
	if err := c.Check(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Check before Run: %v", err)
	}
	wantNil(t, c.Close())
	wantNil(t, c.Close())
	if err := c.Run(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if err := c.Check(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Check: %v", err)
	}
}

func TestCloseEndsRun(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.untilCommitted(0, 0)
		l.feed(0, 100)
		l.until("done", func() bool { return m.State().Partitions[0].Done == 100 })
		wantNil(t, m.Close())
		wantNil(t, m.Close())
		wantNil(t, m.wait())
		if l.committed(0) != 100 {
			t.Errorf("committed %d", l.committed(0))
		}
		if g := l.cluster.GroupInfo(groupName); len(g.Members) != 0 {
			t.Error("the group was not left")
		}
		if err := m.Check(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Check: %v", err)
		}
	})
}

func TestRunUnderAnEndedContext(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		c, err := New(l.config())
		wantNil(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantNil(t, c.Run(ctx, doAll))
		wantNil(t, c.Close())
	})
}

// Shutdown waits for what runs; Start is false from its first moment; what it does not get is
// named.
func TestShutdownAbandons(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		l.feed(1, 10)
		var h, waiting holder
		cfg := l.config()
		m := l.start(cfg, func(b *Batch) {
			for i := range b.Messages {
				if in := &b.Messages[i]; in.Offset >= 6 {
					waiting.hold(in)
				} else if in.Start() {
					h.hold(in)
				}
			}
		})
		l.until("handed out", func() bool { return len(h.messages()) == 12 && len(waiting.messages()) == 8 })
		begun := time.Now()
		m.cancel()
		time.Sleep(time.Second)
		for _, in := range waiting.messages() {
			if in.Start() {
				t.Error("an input was started during the shutdown")
			}
		}
		for _, in := range h.messages() {
			if in.Partition == 1 || in.Offset < 2 {
				in.Done(nil)
			} else if in.Offset == 2 {
				in.Done(context.Canceled) // no outcome
			}
		}
		e := wantAs[*AbandonedError](t, m.wait())
		if took := time.Since(begun); took < DefaultDrainTimeout || took > DefaultDrainTimeout+5*time.Second {
			t.Errorf("it took %s", took)
		}
		if len(e.Partitions) != 1 || e.Partitions[0].Count != 3 || e.Partitions[0].First != 3 || e.Partitions[0].Partition != 0 {
			t.Errorf("abandoned: %+v", e)
		}
		if cause := context.Cause(h.messages()[0].Context()); !errors.Is(cause, ErrShutdown) {
			t.Errorf("cause %v", cause)
		}
		if l.committed(0) != 2 || l.committed(1) != 6 {
			t.Errorf("committed %d and %d", l.committed(0), l.committed(1))
		}
		for _, p := range m.State().Partitions {
			t.Errorf("still held: %+v", p)
		}
		if err := m.Close(); !errors.As(err, new(*AbandonedError)) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestShutdownReturnsAsSoonAsAllIsDone(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		var h holder
		m := l.start(l.config(), h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 10 })
		m.cancel()
		begun := time.Now()
		time.Sleep(2 * time.Second)
		DoneAll(h.messages())
		wantNil(t, m.wait())
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("it took %s", took)
		}
		if l.committed(0) != 10 {
			t.Errorf("committed %d", l.committed(0))
		}
	})
}

func TestBatches(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 50)
		l.feed(1, 50)
		c, err := New(l.config())
		wantNil(t, err)
		n := 0
		for b, err := range c.Batches(t.Context()) {
			wantNil(t, err)
			b.DoneAll()
			if n += len(b.Messages); n == 100 {
				break
			}
		}
		if l.committed(0) != 50 || l.committed(1) != 50 {
			t.Errorf("committed %d and %d", l.committed(0), l.committed(1))
		}
	})
}

// Leaving the loop with an input does not wait for it, and does not commit it.
func TestLeavingTheLoop(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 5)
		c, err := New(l.config())
		wantNil(t, err)
		begun := time.Now()
		for m, err := range c.Messages(t.Context()) {
			wantNil(t, err)
			if m.Offset == 3 {
				break
			}
			m.Done(nil)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		if l.committed(0) != 3 {
			t.Errorf("committed %d", l.committed(0))
		}
	})
}

// The end of the caller's context ends the loop without an error, also when the handler returns
// that as its own.
func TestContextEndsTheLoop(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 5)
		c, err := New(l.config())
		wantNil(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for m, err := range c.Messages(ctx) {
			wantNil(t, err)
			if m.Offset == 2 {
				cancel()
				m.Done(ctx.Err())
				continue
			}
			m.Done(nil)
		}
		if l.committed(0) != 2 {
			t.Errorf("committed %d", l.committed(0))
		}
	})
}

func TestCommitAfter(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.CommitEvery, cfg.CommitAfter = time.Hour, 10
		m := l.start(cfg, nil)
		l.untilCommitted(0, 0)
		l.feed(0, 9)
		time.Sleep(time.Minute)
		if l.committed(0) != 0 {
			t.Errorf("committed %d", l.committed(0))
		}
		l.feed(0, 1)
		l.untilCommitted(0, 10)
		wantNil(t, m.stop())
	})
}

func TestUnreachableBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net kfake.VirtualNetwork
		logs := &logBuffer{}
		l := &lab{t: t, logs: logs}
		cfg := Config{
			Brokers: []string{"localhost:1", "localhost:2"}, Group: "g", Topics: []string{"t"}, Options: []kgo.Opt{kgo.Dialer(net.DialContext)},
		}
		m := l.start(cfg, nil)
		time.Sleep(10 * time.Second)
		err := m.Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), "localhost:1 (") || !strings.Contains(err.Error(), "localhost:2 (") {
			t.Errorf("Check: %v", err)
		}
		e := wantAs[*StartError](t, m.wait())
		if !strings.Contains(e.Error(), "tried localhost:1 (") {
			t.Errorf("got %v", e)
		}
		synctest.Wait()
	})
}

func TestUnknownTopic(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.Topics = []string{"nope"}
		m := l.start(cfg, nil)
		time.Sleep(10 * time.Second)
		if err := m.Check(t.Context()); err == nil || !strings.Contains(err.Error(), `topic "nope"`) || !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Errorf("Check: %v", err)
		}
		e := wantAs[*StartError](t, m.wait())
		if !strings.Contains(e.Error(), "create it, or correct Config.Topics") {
			t.Errorf("got %v", e)
		}

		cfg.StartTimeout = -1 // wait for it
		m = l.start(cfg, nil)
		time.Sleep(10 * time.Minute)
		wantNil(t, l.cluster.CreateTopic("nope", 1, nil))
		l.until("joined", func() bool { return len(m.State().Partitions) == 1 })
		wantNil(t, m.Check(t.Context()))
		wantNil(t, m.stop())
	})
}

func TestWrongCredentials(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.SASLAuthenticate}, Err: kerr.SaslAuthenticationFailed, TopLevel: true, Count: -1})
		cfg := l.config()
		cfg.Options = append(cfg.Options, kgo.SASL(plain.Auth{User: "u", Pass: "wrong"}.AsMechanism()))
		m := l.start(cfg, nil)
		begun := time.Now()
		e := wantAs[*StartError](t, m.wait())
		if !errors.Is(e, kerr.SaslAuthenticationFailed) || !strings.Contains(e.Error(), "credentials") || time.Since(begun) > 20*time.Second {
			t.Errorf("after %s: %v", time.Since(begun), e)
		}
	}, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "right"))
}

// All brokers answer nothing for minutes: nothing is lost, the member comes back, Check says what
// is wrong meanwhile (fault 9).
func TestOutage(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		m := l.start(l.config(), nil)
		l.untilCommitted(0, 10)
		h := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.OffsetCommit, kmsg.FindCoordinator}, Err: kerr.CoordinatorNotAvailable, Count: -1,
		})
		l.feed(0, 10)
		time.Sleep(5 * time.Minute)
		if l.committed(0) != 10 {
			t.Errorf("committed %d during the outage", l.committed(0))
		}
		h.Remove()
		l.untilCommitted(0, 20)
		l.feed(1, 10)
		l.untilCommitted(1, 10)
		wantNil(t, m.Check(t.Context()))
		wantNil(t, m.stop())
	})
}

// A coordinator that does not answer does not hold up a shutdown.
func TestShutdownDuringAnOutage(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.untilCommitted(0, 0)
		l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.OffsetCommit, kmsg.FindCoordinator, kmsg.LeaveGroup}, Err: kerr.CoordinatorNotAvailable, Count: -1,
		})
		l.feed(0, 10)
		l.until("done", func() bool { return m.State().Partitions[0].Done == 10 })
		begun := time.Now()
		wantAs[*UncommittedError](t, m.stop())
		if took := time.Since(begun); took > finalCommitTimeout+leaveTimeout+2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// deliver that blocks is the caller's bug, and is named.
func TestBlockingDeliverIsLogged(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), func(b *Batch) {
			time.Sleep(2 * time.Second)
			doAll(b)
		})
		l.feed(0, 1)
		l.untilCommitted(0, 1)
		if !strings.Contains(l.logs.String(), "deliver blocked the poll loop") {
			t.Error("no warning")
		}
		wantNil(t, m.stop())
	})
}

// Nor does a join that waits: for members that are slow or dead, or on a coordinator that has moved
// and forgot it.
func TestShutdownDuringAJoin(t *testing.T) {
	join := kmsg.JoinGroup
	if protocolUnderTest == ConsumerProtocol {
		join = kmsg.ConsumerGroupHeartbeat
	}
	inLab(t, 1, func(t *testing.T, l *lab) {
		m := l.start(l.config(), nil)
		l.untilCommitted(0, 0)
		l.feed(0, 10)
		l.untilCommitted(0, 10)
		joins, let := make(chan struct{}), make(chan struct{})
		defer func() {
			close(let)
			synctest.Wait() // or the cluster, which closes next, may wait for itself
		}()
		l.cluster.ControlKey(int16(join), func(kmsg.Request) (kmsg.Response, error, bool) {
			close(joins)
			l.cluster.SleepControl(func() { <-let })
			return nil, nil, false
		})
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.RebalanceInProgress})
		<-joins
		begun := time.Now()
		wantNil(t, m.stop())
		if took := time.Since(begun); took > leaveTimeout+time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
