package scenarios

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// longSession is Kafka's default. Who waits for it has no will.
func longSession(cfg *pipeline.Config) { cfg.Consumer.SessionTimeout = 45 * time.Second }

// eagerCommits makes a commit every 100 ms.
func eagerCommits(cfg *pipeline.Config) {
	longSession(cfg)
	cfg.Consumer.CommitEvery = 100 * time.Millisecond
}

// lateCommits makes none by itself.
func lateCommits(cfg *pipeline.Config) {
	cfg.Consumer.CommitEvery, cfg.Consumer.CommitAfter = time.Hour, 0
}

// smallQueues lets a receiver wait in the middle of a message when Kafka does not answer.
func smallQueues(cfg *sidecar.Config) { cfg.PartitionRecords = 8 }

// Processes die, or seem to.
var deaths = []scenario{
	{name: "killed", cfg: lab.Config{App: longSession, Handler: holdOne(0)}, play: func(l *lab.Lab) {
		// One input of each partition is held, everything else is done above it.
		// Its death is not proven, so what is done is committed once, at the end of its will.
		a := l.StartAppAs("a", lab.AppConfig{Unproven: true})
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(600, 8*time.Second)
		l.Sleep(4500 * time.Millisecond)
		a.Kill()
		l.Sleep(5 * time.Second)
	}},
	{name: "killed before its first commit", cfg: lab.Config{App: longSession, Handler: holdOne(0)}, play: func(l *lab.Lab) {
		// The same, and all that it has done is its will's to commit: none of its own commits is in
		// time.
		a := l.StartAppAs("a", lab.AppConfig{Unproven: true, Pipeline: lateCommits})
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(600, 8*time.Second)
		l.Sleep(4500 * time.Millisecond)
		a.Kill()
		l.Sleep(5 * time.Second)
	}},
	{name: "killed in the middle of a message", cfg: lab.Config{App: longSession, Sidecar: smallQueues, Handler: lab.Thrice, PerInput: 3}, play: func(l *lab.Lab) {
		// The sidecar has received whole units, and given Kafka a part of one.
		a := l.StartApp("a")
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(600, 6*time.Second)
		l.Sleep(2 * time.Second)
		l.BlackholeSidecarBrokers()
		l.Sleep(time.Second)
		a.Kill()
		l.Sleep(3 * time.Second)
		l.HealSidecarBrokers()
		l.Sleep(5 * time.Second)
	}},
	{name: "killed with a commit on its way", cfg: lab.Config{App: eagerCommits, Work: 200 * time.Millisecond}, play: func(l *lab.Lab) {
		// The broker gets it after that of the will, and before the group is left.
		l.StartApp("b")
		l.FeedOver(5600, 70*time.Second) // more than they can do: what is fetched is worked on while the brokers are slow
		for range 9 {
			a := l.StartAppAs("a", lab.AppConfig{Unproven: true})
			l.Sleep(6 * time.Second)
			l.SlowSidecarBrokers(120 * time.Millisecond)
			a.SlowBrokers(2070 * time.Millisecond) // the will begins a second after the kill, and commits five ways later
			l.Sleep(400 * time.Millisecond)
			a.Kill()
			l.Sleep(3 * time.Second)
			l.SlowSidecarBrokers(0)
		}
	}},
	{name: "killed after a hand-over", cfg: lab.Config{App: releaseSoon, Handler: holdFrom(3*time.Second, 30*time.Second)}, play: func(l *lab.Lab) {
		// Nothing can be committed while partitions move from one to the other; what they had done
		// is in nobody's commit when the first one dies.
		a := l.StartApp("a")
		l.Sleep(time.Second)
		f := l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RebalanceInProgress, Count: -1})
		l.Feed(300)
		l.Sleep(3 * time.Second)
		l.StartApp("b")
		l.Sleep(14 * time.Second)
		a.Kill()
		l.Sleep(500 * time.Millisecond)
		f.Remove()
		l.Sleep(8 * time.Second)
	}},
	scenario{name: "stream breaks", cfg: lab.Config{App: longSession, Keys: 8}, play: func(l *lab.Lab) {
		// Between two that live, with units and reports on their way.
		a := l.StartApp("a")
		l.Sleep(2 * time.Second)
		a.SlowSidecar(100 * time.Millisecond)
		breakOften(l, a, 16)
	}}.inOrder(),
	scenario{name: "stream breaks, Kafka is slow", cfg: lab.Config{App: longSession, Keys: 8}, play: func(l *lab.Lab) {
		// Most of what was received is not finished.
		a := l.StartApp("a")
		l.Sleep(2 * time.Second)
		l.SlowSidecarBrokers(400 * time.Millisecond)
		breakOften(l, a, 8)
	}}.inOrder(),
	{name: "stopped long", cfg: lab.Config{App: longSession}, play: func(l *lab.Lab) {
		// Others have its partitions when it goes on with units for the sidecar, and the brokers
		// cannot tell it.
		a := l.StartApp("a")
		a.SlowSidecar(100 * time.Millisecond)
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.FeedOver(3000, 40*time.Second)
		l.Sleep(2 * time.Second)
		a.Pause()
		l.Sleep(25 * time.Second)
		a.BlackholeBrokers()
		a.Resume()
		l.Sleep(5 * time.Second)
	}},
}

// breakOften breaks an app's stream under load.
func breakOften(l *lab.Lab, a *lab.App, times int) {
	l.FeedOver(250*times, time.Duration(times)*time.Second)
	for range times {
		l.Sleep(930 * time.Millisecond)
		a.BreakStream()
	}
}

// releaseSoon hands partitions over after two seconds, whatever is missing.
func releaseSoon(cfg *pipeline.Config) {
	longSession(cfg)
	cfg.Consumer.DrainTimeout, cfg.Consumer.RebalanceTimeout = time.Second, 10*time.Second
}

// holdFrom holds the first input of each partition when it is handed out between these times.
func holdFrom(from, until time.Duration) lab.Handler {
	return func(l *lab.Lab, in *consumer.Message) ([]producer.Record, error) {
		if at := time.Since(bubbleStart); in.Offset == 0 && at > from && at < until {
			time.Sleep(until - at)
		}
		return lab.Upper(l, in)
	}
}
