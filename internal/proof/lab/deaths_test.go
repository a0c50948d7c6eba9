package lab

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// longSession is Kafka's default: nobody may have to wait for it.
const longSession = 45 * time.Second

func sessionOf(d time.Duration) func(*pipeline.Config) {
	return func(cfg *pipeline.Config) { cfg.Consumer.SessionTimeout = d }
}

// nothingRepeats fails the test if an output came twice.
func nothingRepeats(l *Lab) {
	l.T.Helper()
	l.jobs[0].watch.Settle()
	if n := l.Checker.Counts().Duplicates; n > 0 {
		l.T.Errorf("%d outputs came twice", n)
	}
}

// takenOver waits until every partition has begun a stay with a living app, and returns how long
// that took.
func takenOver(l *Lab) time.Duration {
	begun := time.Now()
	for time.Since(begun) < 2*longSession && !l.jobs[0].stays.alive(len(l.Cluster.PartitionInfos(In))) {
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begun)
}

// A stream that breaks between two living ends: nothing is lost, nothing comes twice, and the order
// holds (S7). Reports that were missed come after.
func TestStreamBreaks(t *testing.T) {
	Run(t, Config{Keys: 8, App: sessionOf(longSession)}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(2000, 20*time.Second)
		for range 12 {
			l.SleepUpTo(2 * time.Second)
			if l.Rand.IntN(2) == 0 {
				a.BreakStream()
				continue
			}
			a.CutSidecar()
			l.SleepUpTo(600 * time.Millisecond)
			a.HealSidecar()
			l.Sleep(400 * time.Millisecond) // one cut after the other is one that lasts longer than the grace
		}
		l.Idle()
		nothingRepeats(l)
		if n := l.Checker.Counts(); n.Wills > 0 || n.HandedOut != n.Inputs {
			l.T.Errorf("a broken stream between the living: %+v", n)
		}
	})
}

// Reports are on their way when the stream breaks: those that were lost with it come on the next
// one.
func TestStreamBreaksUnderReports(t *testing.T) {
	Run(t, Config{Work: -1, App: sessionOf(longSession)}, func(l *Lab) {
		a := l.StartApp("a")
		l.Sleep(5 * time.Second)
		a.SlowSidecar(100 * time.Millisecond)
		l.FeedOver(3000, 6*time.Second)
		for range 10 {
			l.Sleep(730 * time.Millisecond)
			a.BreakStream()
		}
		l.Idle()
		nothingRepeats(l)
	})
}

// SIGKILL of an app: its units are finished, its marks and done-sets committed, and others have its
// partitions seconds later although its session would last 45 s (fault 1).
func TestAppKilledUnderLoad(t *testing.T) {
	for _, keys := range []int{2, 60} {
		t.Run(fmt.Sprintf("keys=%d", keys), func(t *testing.T) {
			Run(t, Config{Keys: keys, App: sessionOf(longSession), Work: 80 * time.Millisecond, Concurrency: 8}, killedAtWork)
		})
	}
}

func killedAtWork(l *Lab) {
	killed(l)
	nothingRepeats(l)
	willed(l)
}

// killed kills an app at work four times.
func killed(l *Lab) {
	l.T.Helper()
	a := l.StartApp("a")
	l.StartApp("b")
	l.Sleep(5 * time.Second)
	l.FeedOver(2500, 40*time.Second)
	for range 4 {
		l.Sleep(4 * time.Second)
		l.SleepUpTo(2 * time.Second)
		a.Kill()
		if d := takenOver(l); d > 3*time.Second {
			l.T.Errorf("taken over %v after the kill", d)
		}
		a = l.StartApp("a")
	}
	l.Idle()
}

// willed demands that each death was followed by a will.
func willed(l *Lab) {
	l.T.Helper()
	if n := l.Incidents(); n.Willed == 0 || n.Taken > 0 {
		l.T.Errorf("%+v", n)
	}
}

// SIGKILL while partitions are handed over: the sidecar has released them, and no will names them
// any more; their process has not heard of it yet. What it had done is committed all the same.
func TestKilledBetweenReleaseAndCommit(t *testing.T) {
	var revoking atomic.Bool
	Run(t, Config{App: func(cfg *pipeline.Config) {
		cfg.Consumer.SessionTimeout, cfg.Consumer.CommitEvery = longSession, 30*time.Second // none by itself before the kill
		cfg.Consumer.Hooks.Revoking = func(context.Context, []*consumer.Assignment) { revoking.Store(true) }
	}}, func(l *Lab) {
		const link = 200 * time.Millisecond
		a := l.StartApp("a")
		l.Settle()
		l.FeedOver(1500, 10*time.Second)
		l.Sleep(4 * time.Second)
		a.SlowSidecar(link)
		l.StartApp("b")
		l.Until("partitions are revoked", revoking.Load)
		l.Sleep(link + link/2) // Release has arrived, Released has not
		a.Kill()
		l.Idle()
		nothingRepeats(l)
	})
}

// Two of three die at the same moment.
func TestTwoAppsKilledAtOnce(t *testing.T) {
	Run(t, Config{App: sessionOf(longSession), Partitions: 9}, func(l *Lab) {
		a, b := l.StartApp("a"), l.StartApp("b")
		l.StartApp("c")
		l.Sleep(8 * time.Second)
		l.FeedOver(1500, 15*time.Second)
		l.Sleep(4 * time.Second)
		a.Kill()
		b.Kill()
		if d := takenOver(l); d > 4*time.Second {
			l.T.Errorf("taken over %v after the kills", d)
		}
		l.Idle()
		nothingRepeats(l)
		if n := l.Checker.Counts().Wills; n != 2 {
			l.T.Errorf("%d wills", n)
		}
	})
}

// Three of four die within a second, each in the rebalance that the one before it left behind, and
// start again: the survivor has all partitions when the last will is done, and not after a chain of
// sessions of 45 s.
func TestDeathsThatOverlap(t *testing.T) {
	Run(t, Config{App: sessionOf(longSession), Partitions: 9}, func(l *Lab) {
		l.StartApp("survivor")
		l.FeedOver(2500, 40*time.Second)
		for range 3 {
			apps := []*App{l.StartApp("a"), l.StartApp("b"), l.StartApp("c")}
			l.Sleep(8 * time.Second)
			for _, a := range apps {
				a.Kill()
				l.SleepUpTo(400 * time.Millisecond)
			}
			if d := takenOver(l); d > 5*time.Second {
				l.T.Errorf("taken over %v after the last kill", d)
			}
		}
		l.Idle()
		if n := l.Checker.Counts(); n.Wills != 9 {
			l.T.Errorf("%d wills", n.Wills)
		}
		if w := l.Status().GetWills(); w.GetSuperseded() > 0 { // who was to share the partitions out died: nobody can commit for it
			l.T.Logf("wills: %s", w)
			return
		}
		nothingRepeats(l)
	})
}

// Nothing proves the death, and the app is back within the grace under the same session id: it is
// another process all the same.
func TestAppRestartsInTheGrace(t *testing.T) {
	Run(t, Config{App: sessionOf(longSession)}, func(l *Lab) {
		as := AppConfig{Session: "s", Unproven: true}
		a := l.StartAppAs("a", as)
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(1500, 20*time.Second)
		for range 3 {
			l.Sleep(4 * time.Second)
			a.Kill()
			l.SleepUpTo(900 * time.Millisecond)
			a = l.StartAppAs("a", as)
		}
		l.Idle()
		nothingRepeats(l)
	})
}

// The sidecar dies while it carries out a will: the bound is that of a whole pod, and nothing is
// lost.
func TestSidecarDiesInAWill(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.StartApp("b")
		l.FeedOver(2000, 60*time.Second)
		for range 5 {
			a := l.StartApp("a")
			l.Sleep(6 * time.Second)
			l.SlowSidecarBrokers(100 * time.Millisecond)
			l.SleepUpTo(time.Second)
			a.Kill()
			l.SleepUpTo(time.Second)
			l.KillSidecar()
			l.SleepUpTo(time.Second)
			l.StartSidecar()
		}
	})
}

// SIGSTOP longer than the sidecar waits, then SIGCONT: the woken app is fenced, its late units are
// refused (S8), it joins again (fault 2).
func TestAppStoppedLong(t *testing.T) {
	Run(t, Config{App: sessionOf(longSession)}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(2500, 90*time.Second)
		for i := range 2 {
			l.Sleep(5 * time.Second)
			l.SleepUpTo(time.Second)
			a.Pause()
			if d := takenOver(l); d > 20*time.Second {
				l.T.Errorf("taken over %v after SIGSTOP", d)
			}
			l.Sleep(time.Duration(1+i*20) * time.Second)
			a.Resume()
			l.Sleep(5 * time.Second)
			if n := len(a.State().Consumer.Partitions); n == 0 {
				l.T.Error("the woken app holds nothing")
			}
		}
		l.Idle()
		nothingRepeats(l)
		if n := l.Checker.Counts().Wills; n != 2 {
			l.T.Errorf("%d wills", n)
		}
	})
}

// SIGSTOP shorter than the keepalive: nothing happens (fault 3).
func TestAppStoppedShort(t *testing.T) {
	both(t, Config{App: sessionOf(longSession)}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(1000, 30*time.Second)
		for range 4 {
			l.SleepUpTo(3 * time.Second)
			a.Pause()
			l.SleepUpTo(3 * time.Second)
			a.Resume()
		}
		l.Idle()
		nothingRepeats(l)
		if n := l.Checker.Counts(); n.Wills > 0 || n.HandedOut != n.Inputs {
			l.T.Errorf("%+v", n)
		}
	})
}

// The dead app's last commit is still on its way when its will commits: whichever the broker takes
// last, what is committed when the group is left is the will's. Unless it comes in the round trip
// between the will's last reading and its leave (DESIGN.md): then it is counted, and what was done
// since it was sent may repeat, no more (S6). About one run of a hundred meets that.
func TestLateCommitRacesTheWill(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	Run(t, Config{App: sessionOf(longSession)}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(500*rounds, time.Duration(rounds)*8*time.Second)
		for range rounds {
			l.Sleep(4 * time.Second)
			a.SlowBrokers(time.Duration(50+l.Rand.IntN(250)) * time.Millisecond)
			l.SlowSidecarBrokers(time.Duration(20+l.Rand.IntN(60)) * time.Millisecond)
			l.Sleep(time.Second)
			l.SleepUpTo(time.Second)
			a.Kill()
			takenOver(l)
			l.SlowSidecarBrokers(0)
			a = l.StartApp("a")
		}
		l.Idle()
		if n := l.Checker.Counts().Raced; n > 0 {
			l.T.Logf("%d stays lost their will to a commit that came at the last moment", n)
			return
		}
		nothingRepeats(l)
	})
}

// A static member's partitions wait for it: its will commits and does not leave. In the consumer
// protocol it leaves for now, or the broker would refuse the next process for the rest of the
// session.
func TestStaticMemberKilled(t *testing.T) {
	Run(t, Config{App: sessionOf(longSession)}, func(l *Lab) {
		a := l.StartAppAs("a", AppConfig{Instance: "one"})
		l.StartAppAs("b", AppConfig{Instance: "two"})
		l.Sleep(5 * time.Second)
		l.FeedOver(1500, 20*time.Second)
		for range 3 {
			l.Sleep(4 * time.Second)
			held := len(a.State().Consumer.Partitions)
			a.Kill()
			l.Sleep(2 * time.Second)
			a = l.StartAppAs("a", AppConfig{Instance: "one"})
			l.Sleep(3 * time.Second)
			if n := len(a.State().Consumer.Partitions); n != held {
				l.T.Errorf("held %d partitions before, %d now", held, n)
			}
		}
		l.Idle()
		nothingRepeats(l)
		want := uint64(0)
		if l.cfg.Protocol == consumer.ConsumerProtocol {
			want = 3
		}
		if n := l.Checker.Counts().Wills; n != want {
			l.T.Errorf("%d static members were left, want %d", n, want)
		}
	})
}

// Partitions are taken from an app whose stream is broken: they are let go when it is back, and
// nothing repeats.
func TestReleaseDuringABrokenStream(t *testing.T) {
	Run(t, Config{App: sessionOf(longSession)}, func(l *Lab) {
		a := l.StartApp("a")
		l.Sleep(5 * time.Second)
		l.FeedOver(1500, 20*time.Second)
		for range 3 {
			l.Sleep(3 * time.Second)
			a.CutSidecar()
			b := l.StartApp("b")
			l.Sleep(600 * time.Millisecond) // the next attempt to connect comes within the grace
			a.HealSidecar()
			l.Sleep(6 * time.Second)
			if err := b.Stop(); err != nil {
				l.T.Errorf("b: %v", err)
			}
		}
		l.Idle()
		nothingRepeats(l)
	})
}

// A deployment moves from direct producers to the sidecar and back, under load: nobody dies,
// nothing repeats.
func TestRollingDirectSidecarDirect(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.FeedOver(2500, 60*time.Second)
		var old []*App
		for _, direct := range []bool{true, false, true} {
			var now []*App
			for i := range 3 {
				now = append(now, l.StartAppAs("app", AppConfig{Direct: direct}))
				l.Sleep(4 * time.Second)
				if i < len(old) {
					if err := old[i].Stop(); err != nil {
						l.T.Errorf("%s: %v", old[i].Name, err)
					}
					l.Sleep(2 * time.Second)
				}
			}
			old = now
		}
		l.Idle()
		nothingRepeats(l)
	})
}

// An operator sets offsets back: everything from there on is handed out again, whatever a done-set
// said (fault 31).
func TestOperatorResets(t *testing.T) {
	both(t, Config{Keys: 3, Work: 100 * time.Millisecond}, func(l *Lab) {
		a := l.StartApp("a")
		l.FeedOver(600, 10*time.Second)
		l.Sleep(5 * time.Second)
		if err := a.Stop(); err != nil {
			l.T.Error(err)
		}
		before := l.Checker.Counts().HandedOut
		var again int64
		l.ResetOffsets(func(committed int64) int64 {
			again += committed - committed/2
			return committed / 2
		})
		l.StartApp("b")
		l.Idle()
		if n := l.Checker.Counts(); int64(n.HandedOut) < int64(n.Inputs)+again || again == 0 || before == 0 {
			l.T.Errorf("%d were to be handed out again: %+v", again, n)
		}
	})
}

// The whole pod dies at once (fault 6): what repeats was in flight or done since the last
// commit, and both are counted.
func TestPodKilledAtOnce(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			Run(t, Config{App: func(cfg *pipeline.Config) { cfg.Consumer.CommitEvery = every }}, func(l *Lab) {
				l.FeedOver(2000, 60*time.Second)
				for range 3 {
					l.StartApp("a")
					l.StartApp("b")
					l.Sleep(15 * time.Second)
					l.SleepUpTo(every)
					l.KillPod()
					l.Sleep(100 * time.Millisecond)
					l.StartSidecar()
				}
				l.StartApp("c")
				l.Idle()
				n, i := l.Checker.Counts(), l.Incidents()
				l.T.Logf("commits every %v: W %d, C %d, duplicates %d", every, i.InFlight, i.Done, n.Duplicates)
				if int(n.Duplicates) > i.InFlight+i.Done || i.Taken == 0 {
					l.T.Errorf("%d duplicates, %+v", n.Duplicates, i)
				}
			})
		})
	}
}

// A topic is deleted and created again while its inputs are worked on (fault 18): whoever works
// on the old one halts, and no offset and no done-set of it is applied to the new one, not even
// when a tool puts them back.
func TestTopicCreatedAgain(t *testing.T) { both(t, Config{Handler: holdFirst(0)}, createdAnew) }

func createdAnew(l *Lab) {
	a := l.StartApp("a")
	l.Feed(300)
	l.Sleep(4 * time.Second)
	before := l.Commits()
	l.RecreateTopic()
	l.Sleep(20 * time.Second)
	_ = a.Stop()
	l.SetOffsets(before)
	l.Feed(300)
	l.StartApp("b")
	l.Idle()
	if n := l.Checker.Counts(); n.SetInputs == 0 {
		l.T.Errorf("no done-set was committed: %+v", n)
	}
}

// holdFirst holds the inputs at this offset for the lab's first ten seconds: what others do beside
// it is in the done-set.
func holdFirst(offset int64) Handler {
	return func(l *Lab, in *consumer.Message) ([]producer.Record, error) {
		if d := 10*time.Second - time.Since(l.begun); in.Offset == offset && d > 0 {
			time.Sleep(d)
		}
		return Upper(l, in)
	}
}

// SIGKILL of a member in its first join. The group has given it partitions by then, or is about to,
// and the sidecar knows who to leave for: they do not wait for the end of its session.
func TestKilledInItsFirstJoin(t *testing.T) {
	Run(t, Config{App: sessionOf(longSession)}, func(l *Lab) {
		a := l.StartApp("a")
		l.Settle()
		l.FeedOver(1500, 40*time.Second)
		for range 4 {
			l.Sleep(4 * time.Second)
			b := l.StartApp("b")
			l.Until("it waits in its join", func() bool { return len(l.Cluster.GroupInfo(Group).Members) == 2 })
			l.Sleep(10 * time.Millisecond) // it has told the sidecar, which it does beside its join
			b.Kill()
			l.Sleep(4 * time.Second)
			if n := len(a.State().Consumer.Partitions); n != int(l.cfg.Partitions) {
				l.T.Errorf("%d partitions are read, of %d", n, l.cfg.Partitions)
			}
		}
		l.Idle()
		nothingRepeats(l)
	})
}
