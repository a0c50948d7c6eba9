package lab

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The broker appends, and says that it failed or timed out (faults 14, 15): nothing repeats,
// because the sequence is the same.
func TestLostProduceReplies(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend} {
		t.Run(err.Message, func(t *testing.T) {
			both(t, Config{}, func(l *Lab) {
				l.StartApp("a")
				l.FeedOver(800, 8*time.Second)
				l.Sleep(time.Second)
				h := l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: Out, Err: err, Count: 30})
				l.Idle()
				if h.Hits() < 30 {
					l.T.Errorf("the fault came %d times", h.Hits())
				}
				if n := l.Checker.Counts().Duplicates; n > 0 {
					l.T.Errorf("%d outputs came twice", n)
				}
			})
		})
	}
}

// Refused for a while: retried for ever, in order (fault 15).
func TestProduceRefusedForAMinute(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.FeedOver(600, 10*time.Second)
		l.Sleep(2 * time.Second)
		h := l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: Out, Err: kerr.NotEnoughReplicas, Count: -1})
		l.Sleep(time.Minute)
		h.Remove()
		l.Idle()
		if n := l.Checker.Counts().Duplicates; n > 0 {
			l.T.Errorf("%d outputs came twice", n)
		}
	})
}

// A commit that is applied and answered with an error is repeated, never taken back (S3).
func TestLostCommitReplies(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.FeedOver(1000, 20*time.Second)
		for range 4 {
			l.SleepUpTo(4 * time.Second)
			l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.RequestTimedOut, Count: 1 + l.Rand.IntN(4)})
		}
		l.StartApp("b")
	})
}

// The coordinator moves, or loads (fault 8): commits are retried, never dropped, and nothing
// repeats.
func TestCoordinatorMovesAndLoads(t *testing.T) { both(t, Config{}, movesAndLoads) }

func movesAndLoads(l *Lab) {
	l.StartApp("a")
	l.StartApp("b")
	l.FeedOver(1000, 20*time.Second)
	for range 5 {
		l.SleepUpTo(4 * time.Second)
		l.MoveCoordinator()
		l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit, kmsg.Heartbeat}, Group: Group, Err: kerr.CoordinatorLoadInProgress, Count: 3})
		l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: Group, Err: kerr.NotCoordinator, Count: 2})
	}
}

// Leaders move while everything runs (fault 7).
func TestLeadersMove(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.Settle()
		l.FeedOver(1000, 20*time.Second)
		for range 8 {
			l.SleepUpTo(3 * time.Second)
			l.MoveLeaders()
		}
		l.Idle()
		if n := l.Checker.Counts().Duplicates; n > 0 {
			l.T.Errorf("%d outputs came twice", n)
		}
	})
}

// The group forgets its member: UNKNOWN_MEMBER_ID to a heartbeat or to a commit. What it held is
// lost, nothing of it is committed, and it joins again.
func TestMemberForgotten(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.FeedOver(1000, 20*time.Second)
		for _, key := range []kmsg.Key{kmsg.Heartbeat, kmsg.OffsetCommit, kmsg.Heartbeat, kmsg.OffsetCommit} {
			l.SleepUpTo(5 * time.Second)
			l.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Group: Group, Err: kerr.UnknownMemberID})
		}
	})
}

// Everything between pod and brokers is down for minutes (fault 9).
func TestAllBrokersDown(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		a, b := l.StartApp("a"), l.StartApp("b")
		l.FeedOver(600, 3*time.Second)
		l.Sleep(time.Second)
		a.CutBrokers()
		b.CutBrokers()
		l.CutSidecarBrokers()
		l.Sleep(3 * time.Minute)
	})
}

// A slow broker is no fault (fault 13): nothing repeats, nobody is expelled.
func TestSlowBrokers(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		a, b := l.StartApp("a"), l.StartApp("b")
		l.Settle()
		l.Feed(100)
		l.Idle()
		for _, h := range []*App{a, b} {
			h.SlowBrokers(400 * time.Millisecond)
		}
		l.SlowSidecarBrokers(400 * time.Millisecond)
		l.FeedOver(500, 10*time.Second)
		l.Idle()
		if n := l.Checker.Counts().Duplicates; n > 0 {
			l.T.Errorf("%d outputs came twice", n)
		}
	})
}
