package lab

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// A quiet pod that is exactly-once: all in transactions, nothing again.
func TestExactlyOnce(t *testing.T) {
	both(t, Config{ExactlyOnce: true}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.Settle()
		l.Feed(1000)
		l.Idle()
		_ = l.Err()
		if n := l.Checker.Counts(); n.Inputs != 1000 || n.Durable != 1000 || n.Duplicates > 0 || n.Commits == 0 {
			t.Errorf("a quiet pod: %+v", n)
		}
	})
}

// Two groups share the transactions of a sidecar: apps of one die, the other's inputs come out
// once, too.
func TestExactlyOnceTwoGroups(t *testing.T) {
	Run(t, Config{ExactlyOnce: true, Groups: 2, DeadLetter: true, Handler: Trouble}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.StartAppAs("c", AppConfig{Group: 1})
		l.StartAppAs("d", AppConfig{Group: 1})
		l.FeedOver(1500, 30*time.Second)
		for range 3 {
			l.SleepUpTo(10 * time.Second)
			a.Kill()
			l.SleepUpTo(3 * time.Second)
			a = l.StartApp("a")
			l.KillSidecar()
			l.SleepUpTo(time.Second)
			l.StartSidecar()
		}
	})
}

// Apps of a sidecar die: what it has of them is committed whole or not at all.
func TestExactlyOnceAppKilled(t *testing.T) {
	both(t, Config{ExactlyOnce: true, DeadLetter: true, Handler: Trouble}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.FeedOver(1500, 30*time.Second)
		for range 3 {
			l.SleepUpTo(10 * time.Second)
			a.Kill()
			l.SleepUpTo(3 * time.Second)
			a = l.StartApp("a")
		}
	})
}

// One input takes a minute, and thousands above it are done: more than the sidecar has room to
// follow. Its partition begins anew, more than once, and nothing halts, is lost, comes again or is
// reordered; the other partitions go on.
func TestExactlyOnceWithoutRoom(t *testing.T) {
	const slow = 20
	small := func(cfg *sidecar.Config) { cfg.MaxSessions, cfg.MaxRecords = 1, 60 }
	app := func(cfg *pipeline.Config) { cfg.Consumer.MaxRecords, cfg.StopOnHalt = 10_000, true }
	Run(t, Config{ExactlyOnce: true, Partitions: 2, Concurrency: 4, Work: -1, Sidecar: small, App: app}, func(l *Lab) {
		release := make(chan struct{})
		l.SetHandler(func(l *Lab, in *consumer.Message) ([]producer.Record, error) {
			if in.Partition == 0 && in.Offset == slow {
				<-release
			}
			return Upper(l, in)
		})
		a := l.StartApp("a")
		l.Settle()
		l.Feed(8000)
		first := a.State().Consumer.Partitions
		l.Sleep(time.Minute)
		for i, p := range a.State().Consumer.Partitions {
			if p.Epoch == first[i].Epoch {
				l.T.Errorf("there was room for partition %d all the time", i)
			}
			if p.Partition == 1 && p.AckMark != p.LogEnd {
				l.T.Errorf("partition 1 has no slow input, and is at %d of %d", p.AckMark, p.LogEnd)
			}
		}
		close(release)
		l.Idle()
		_ = l.Err()
		if n := l.Checker.Counts(); n.Durable != 8000 || n.Duplicates > 0 {
			l.T.Errorf("%+v", n)
		}
	})
}

// The sidecar dies at any request of a transaction, also between its offsets and its end.
func TestExactlyOnceSidecarKilledAtRequests(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
		t.Run(key.Name(), func(t *testing.T) {
			Run(t, Config{ExactlyOnce: true}, func(l *Lab) {
				l.StartApp("a")
				l.StartApp("b")
				l.Settle()
				l.FeedOver(1500, 30*time.Second)
				for range 4 {
					l.Until("it dies", l.DieAt(key, 1+l.Rand.IntN(12)))
					l.KillSidecar()
					l.SleepUpTo(3 * time.Second)
					l.StartSidecar()
				}
			})
		})
	}
}

// Nobody hears how transactions ended (fault 29).
func TestExactlyOnceEndsAreLost(t *testing.T) {
	Run(t, Config{ExactlyOnce: true}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.Settle()
		l.FeedOver(1500, 30*time.Second)
		for range 6 {
			l.LoseReplies(kmsg.EndTxn, 1+l.Rand.IntN(4))
			l.SleepUpTo(5 * time.Second)
			if l.Rand.IntN(2) == 0 {
				l.MoveCoordinator()
			}
		}
	})
}

// A member whose group says again and again that it does not know it joins again each time, under
// the id that it has.
func TestExactlyOnceMemberRefusedAgain(t *testing.T) {
	Run(t, Config{ExactlyOnce: true}, func(l *Lab) {
		l.StartApp("a")
		l.Settle()
		l.FeedOver(500, 10*time.Second)
		l.Sleep(time.Second)
		l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Group: Group, Err: kerr.UnknownMemberID, Count: 8})
		l.Sleep(10 * time.Second) // then the fault is gone
	})
}

// A younger sidecar takes the transactional id (fault 33): the older one ends, and says why.
func TestExactlyOnceTwoSidecars(t *testing.T) {
	Run(t, Config{ExactlyOnce: true}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.Settle()
		l.FeedOver(1500, 30*time.Second)
		for range 4 {
			l.SleepUpTo(6 * time.Second)
			older := l.sidecar
			l.ReplaceSidecar()
			l.Until("the older one ends", func() bool {
				select {
				case <-older.ended:
					return true
				default:
					return false
				}
			})
		}
	})
}

// A sidecar whose id is taken when nothing is to be broken any more ends then: it is started again,
// or what is left would wait for ever.
func TestASidecarThatEndsBehindTheFaults(t *testing.T) {
	Run(t, Config{ExactlyOnce: true}, func(l *Lab) {
		l.StartApp("a")
		l.Settle()
		l.FeedOver(300, 10*time.Second)
		l.Sleep(time.Second)
		cl := l.Client("thief")
		l.T.Cleanup(cl.Close)
		timeout := l.nextTimeout()
		time.AfterFunc(4*time.Second, func() {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.TransactionalID, req.ProducerID, req.ProducerEpoch = kmsg.StringPtr(transactionalID+"-0"), -1, -1
			req.TransactionTimeoutMillis = int32(timeout.Milliseconds())
			for { // the first one may only abort
				resp, err := req.RequestWith(context.Background(), cl)
				if err == nil && resp.ErrorCode == 0 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	})
}

// A service goes from at-least-once to exactly-once and back under load, member by member in one
// group: nothing is lost, and nothing repeated while nothing dies.
func TestRollOverToExactlyOnceAndBack(t *testing.T) {
	Run(t, Config{ExactlyOnce: true}, func(l *Lab) {
		apps := make([]*App, 3)
		for i := range apps {
			apps[i] = l.StartAppAs("app", AppConfig{AtLeastOnce: true})
		}
		l.Settle()
		l.FeedOver(2000, 40*time.Second)
		for _, atLeastOnce := range []bool{false, true} {
			for i := range apps {
				l.SleepUpTo(6 * time.Second)
				if err := apps[i].Stop(); err != nil {
					l.T.Errorf("%s: %v", apps[i].Name, err)
				}
				apps[i] = l.StartAppAs("app", AppConfig{AtLeastOnce: atLeastOnce})
			}
		}
		l.Idle()
		_ = l.Err()
		if n := l.Checker.Counts(); n.Durable != 2000 || n.Duplicates > 0 {
			l.T.Errorf("rolled over: %+v", n)
		}
	})
}
