package scenarios

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

var (
	errPoison = errors.New("poison")
	errBusy   = errors.New("the database is busy")
)

// shortDrain makes a hand-over short: 2 s for handlers, 4 s more for what the producer has.
func shortDrain(cfg *pipeline.Config) {
	cfg.Consumer.DrainTimeout, cfg.Consumer.RebalanceTimeout = 2*time.Second, 10*time.Second
}

// eightAttempts take twelve seconds and more.
func eightAttempts(cfg *pipeline.Config) { cfg.MaxAttempts = 8 }

// Partitions change hands.
var rebalances = []scenario{
	scenario{name: "hand-over", cfg: lab.Config{Order: pipeline.PerPartition, Work: 150 * time.Millisecond}, play: func(l *lab.Lab) {
		// In good order and under load: nothing repeats, since with a lane for each partition
		// nothing is done above the ack mark.
		a := l.StartApp("a")
		l.FeedOver(600, 20*time.Second)
		l.Sleep(4300 * time.Millisecond)
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.StartApp("c")
		l.Sleep(5 * time.Second)
		_ = a.Stop()
	}}.inOrder(),
	scenario{name: "hand-over heard of late", cfg: lab.Config{Order: pipeline.PerPartition, Work: 150 * time.Millisecond}, play: func(l *lab.Lab) {
		// A follower learns that partitions move only in the generation after the one that moved
		// them.
		l.StartApp("a")
		l.FeedOver(600, 20*time.Second)
		l.Sleep(4300 * time.Millisecond)
		l.StartApp("b")
		l.Sleep(5 * time.Second)
		l.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.SyncGroup}, Err: kerr.RebalanceInProgress, Count: 2, When: byFollower})
		l.StartApp("c")
		l.Sleep(5 * time.Second)
	}}.inOrder(),
	{name: "late acks", cfg: lab.Config{App: shortDrain}, play: func(l *lab.Lab) {
		// Outputs are acknowledged when the partition has long gone to somebody else.
		l.StartApp("a")
		l.Feed(200)
		l.Sleep(3 * time.Second)
		l.CutSidecarBrokers()
		l.Feed(200)
		l.Sleep(time.Second)
		l.StartApp("b")
		l.Sleep(15 * time.Second)
		l.HealSidecarBrokers()
		l.Sleep(5 * time.Second)
	}},
	scenario{name: "late but in time", cfg: lab.Config{App: shortDrain}, play: func(l *lab.Lab) {
		// The drain's deadline passes, but what is on its way is acknowledged before the partition
		// is let go.
		l.StartApp("a")
		l.Feed(200)
		l.Sleep(3 * time.Second)
		l.CutSidecarBrokers()
		l.Feed(200)
		l.Sleep(time.Second)
		l.StartApp("b")
		l.Sleep(4 * time.Second)
		l.HealSidecarBrokers()
		l.Sleep(10 * time.Second)
	}}.inOrder(),
	{name: "expelled", cfg: lab.Config{}, play: func(l *lab.Lab) {
		// A member that the brokers do not hear of for longer than its session, while its sidecar
		// goes on acknowledging.
		a := l.StartApp("a")
		l.FeedOver(600, 6*time.Second)
		l.Sleep(3500 * time.Millisecond)
		a.CutBrokers()
		l.Sleep(20 * time.Second)
		a.HealBrokers()
		l.Sleep(5 * time.Second)
	}},
	{name: "kicked", cfg: lab.Config{}, play: func(l *lab.Lab) {
		// An operator removes the member: it learns from the next heartbeat that it is none, on a
		// good network.
		l.StartApp("a")
		l.FeedOver(600, 6*time.Second)
		l.Sleep(3500 * time.Millisecond)
		kick(l)
		l.Sleep(5 * time.Second)
	}},
	{name: "stopped while it retries", cfg: lab.Config{DeadLetter: true, Handler: busyAtFirst, App: eightAttempts}, play: func(l *lab.Lab) {
		// SIGTERM is no outcome: what was between two attempts is somebody else's, not a dead
		// letter.
		l.Checker.Rejects(func(uint64) bool { return false })
		a := l.StartApp("a")
		l.Feed(100)
		l.Sleep(1500 * time.Millisecond)
		_ = a.Stop()
		l.StartApp("b")
	}},
}

// bubbleStart is when the clock of every bubble begins.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// busyAtFirst fails for the first four seconds of a lab.
func busyAtFirst(l *lab.Lab, in *consumer.Message) ([]producer.Record, error) {
	if time.Since(bubbleStart) < 4*time.Second {
		return nil, errBusy
	}
	return lab.Upper(l, in)
}

func byFollower(req kmsg.Request) bool { return len(req.(*kmsg.SyncGroupRequest).GroupAssignment) == 0 }

func kick(l *lab.Lab) {
	cl := l.Client("operator")
	defer cl.Close()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = lab.Group
	for _, m := range l.Cluster.GroupInfo(lab.Group).Members {
		member := kmsg.NewLeaveGroupRequestMember()
		member.MemberID = m.MemberID
		req.Members = append(req.Members, member)
	}
	if _, err := req.RequestWith(context.Background(), cl); err != nil {
		l.T.Fatal(err)
	}
}
