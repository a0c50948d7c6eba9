package lab

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/sidecar"
)

// wounds are what can happen to the link between app and sidecar (fault 10).
var wounds = map[string]func(a *App){
	"cut":            (*App).CutSidecar,
	"blackhole":      (*App).BlackholeSidecar,
	"half-open up":   func(a *App) { a.HalfOpenSidecar(true) },
	"half-open back": func(a *App) { a.HalfOpenSidecar(false) },
}

func TestAppSidecarLink(t *testing.T) {
	for name, wound := range wounds {
		t.Run(name, func(t *testing.T) {
			Run(t, Config{}, func(l *Lab) {
				a := l.StartApp("a")
				l.StartApp("b")
				l.FeedOver(1200, 60*time.Second)
				for range 3 {
					l.SleepUpTo(10 * time.Second)
					wound(a)
					l.SleepUpTo(20 * time.Second)
					a.HealSidecar()
				}
			})
		})
	}
}

// A short cut from the brokers: the same member goes on.
func TestAppBrokerLinkShort(t *testing.T) {
	for name, wound := range map[string]func(a *App){"cut": (*App).CutBrokers, "blackhole": (*App).BlackholeBrokers} {
		t.Run(name, func(t *testing.T) {
			both(t, Config{}, func(l *Lab) {
				a := l.StartApp("a")
				l.StartApp("b")
				l.FeedOver(1200, 40*time.Second)
				for range 4 {
					l.SleepUpTo(5 * time.Second)
					wound(a)
					l.SleepUpTo(DefaultSessionTimeout / 2)
					a.HealBrokers()
				}
			})
		})
	}
}

// A cut longer than the session: the group gives the partitions away while the app still works on
// them; what it does then changes nothing, and it joins again as a new member (faults 2, 12).
func TestAppExpires(t *testing.T) {
	for name, wound := range map[string]func(a *App){"cut": (*App).CutBrokers, "blackhole": (*App).BlackholeBrokers} {
		t.Run(name, func(t *testing.T) {
			both(t, Config{}, func(l *Lab) {
				a := l.StartApp("a")
				l.StartApp("b")
				l.FeedOver(1500, 60*time.Second)
				for range 2 {
					l.SleepUpTo(8 * time.Second)
					wound(a)
					l.Sleep(DefaultSessionTimeout + 5*time.Second)
					a.HealBrokers()
				}
				l.Idle()
				l.Sleep(10 * time.Second)
				if n := len(a.State().Consumer.Partitions); n == 0 {
					l.T.Error("the app that came back holds nothing")
				}
			})
		})
	}
}

// The only app expires and comes back to partitions that nobody took.
func TestOnlyAppExpires(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		a := l.StartApp("a")
		l.FeedOver(800, 40*time.Second)
		l.Sleep(5 * time.Second)
		a.BlackholeBrokers()
		l.Sleep(3 * DefaultSessionTimeout)
		a.HealBrokers()
	})
}

// The sidecar cannot reach the brokers (fault 11): it stalls, nothing is committed, nothing
// repeats, and everything goes on.
func TestSidecarBrokerLink(t *testing.T) {
	for name, wound := range map[string]func(l *Lab){"cut": (*Lab).CutSidecarBrokers, "blackhole": (*Lab).BlackholeSidecarBrokers} {
		t.Run(name, func(t *testing.T) {
			Run(t, Config{}, func(l *Lab) {
				l.StartApp("a")
				l.StartApp("b")
				l.Settle()
				l.Feed(100)
				l.Idle()
				l.FeedOver(1000, 90*time.Second)
				l.SleepUpTo(5 * time.Second)
				wound(l)
				l.Sleep(time.Minute)
				l.HealSidecarBrokers()
				l.Idle()
				if n := l.Checker.Counts().Duplicates; n > 0 {
					l.T.Errorf("%d outputs came twice", n)
				}
			})
		})
	}
}

// A sidecar that is killed while its brokers cannot hear it: what it has written may arrive late,
// and is a repetition then.
func TestSidecarKilledInBlackhole(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.FeedOver(800, 20*time.Second)
		for range 3 {
			l.SleepUpTo(3 * time.Second)
			l.BlackholeSidecarBrokers()
			l.SleepUpTo(3 * time.Second)
			l.KillSidecar()
			l.StartSidecar()
		}
	})
}

// A sidecar with little memory behind slow links: credit holds the apps back, and nobody loses
// anything (fault 25).
func TestCreditPressure(t *testing.T) {
	small := func(cfg *sidecar.Config) {
		cfg.MaxBytes, cfg.MaxRecords, cfg.MaxSessions, cfg.MaxRecordBytes, cfg.MaxMessageBytes = 640<<10, 620, 4, 2000, 80<<10
	}
	Run(t, Config{Sidecar: small, Work: -1, Concurrency: 8}, func(l *Lab) {
		a, b := l.StartApp("a"), l.StartApp("b")
		a.SlowSidecar(20 * time.Millisecond)
		b.SlowSidecar(50 * time.Millisecond)
		l.SlowSidecarBrokers(10 * time.Millisecond)
		l.Settle()
		l.FeedOver(3000, 5*time.Second)
		l.Idle()
		if n := l.Checker.Counts().Duplicates; n > 0 {
			l.T.Errorf("%d outputs came twice", n)
		}
	})
}

// The stream breaks while its receiver waits for Kafka: the next stream's waits for it, and nothing
// is overtaken (S7).
func TestStreamBreaksWithoutKafka(t *testing.T) {
	small := func(cfg *sidecar.Config) { cfg.PartitionRecords = 8 }
	Run(t, Config{Keys: 8, App: sessionOf(longSession), Sidecar: small}, func(l *Lab) {
		a := l.StartApp("a")
		l.FeedOver(1500, 20*time.Second)
		for range 5 {
			l.Sleep(2 * time.Second)
			l.BlackholeSidecarBrokers()
			l.Sleep(time.Second)
			a.BreakStream()
			l.SleepUpTo(3 * time.Second)
			l.HealSidecarBrokers()
		}
		l.Idle()
		nothingRepeats(l)
	})
}

// A process dies at once: what it does about the end of one connection does not get out by another.
func TestTheDeadSayNothing(t *testing.T) {
	n := newNetwork()
	app, service := n.host("app"), n.host("service")
	lis, err := service.listen("", "localhost:"+sidecarPort)
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	go func() {
		for {
			if _, err := lis.Accept(); err != nil {
				return
			}
		}
	}()
	c, err := app.dial(t.Context(), "", "localhost:"+sidecarPort)
	if err != nil {
		t.Fatal(err)
	}
	app.dead.Store(true) // kill has begun, and has not come to this connection
	if n, err := c.Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("%d bytes of a dead process were written, error %v", n, err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a dead process has read")
	}
	if app.kill() {
		t.Error("it died twice")
	}
}

// An app is cut off from its sidecar, which executes its will, and what it hears of its brokers
// then is that its epoch is wrong, not that it left: it joins again under the id that it made. It
// goes on, and that it leaves in the end is its own doing.
func TestComesBackUnderItsID(t *testing.T) {
	Run(t, Config{Protocol: consumer.ConsumerProtocol, App: sessionOf(longSession)}, func(l *Lab) {
		member := func() string {
			if g := l.Cluster.GroupInfo(Group); g != nil && len(g.Members) == 1 {
				return g.Members[0].MemberID
			}
			return ""
		}
		a := l.StartApp("a")
		l.Settle()
		l.FeedOver(500, 60*time.Second)
		l.Sleep(5 * time.Second)
		before := member()
		a.BlackholeBrokers()
		l.Sleep(6 * time.Second) // a heartbeat is on its way
		a.CutSidecar()
		l.Until("the will is executed", func() bool { return member() == "" })
		a.HealSidecar()
		l.Sleep(2 * time.Second) // the sidecar tells it that its session is closed, and opens the next one
		l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Err: kerr.FencedMemberEpoch, Count: 1})
		a.HealBrokers()
		l.Idle()
		if now := member(); now != before || before == "" {
			l.T.Errorf("it was member %q, and is %q", before, now)
		}
		if err := a.Stop(); err != nil {
			l.T.Error(err)
		}
		l.jobs[0].watch.Settle()
		if n := l.Checker.Counts().Wills; n != 1 {
			l.T.Errorf("%d wills were seen, there was one", n)
		}
		l.StartApp("b")
	})
}

// A connection that is reset says so as one of package net does: a client that tries again what the
// system says, and nothing else, does so here.
func TestResetIsTheSystems(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		h := l.host("somebody")
		c, err := h.dial(l.T.Context(), "tcp", "localhost:9092")
		if err != nil {
			l.T.Fatal(err)
		}
		h.link(toBrokers).reset()
		_, read := c.Read(make([]byte, 1))
		_, written := c.Write([]byte{0})
		for _, err := range []error{read, written} {
			var op *net.OpError
			if _, ok := errors.AsType[*os.SyscallError](err); !ok || !errors.As(err, &op) || !errors.Is(err, syscall.ECONNRESET) {
				l.T.Errorf("%T: %v", err, err)
			}
		}
		if err := c.Close(); err != nil {
			l.T.Error(err)
		}
		l.StartApp("a")
	})
}
