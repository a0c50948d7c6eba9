package brokerwatch

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGoodMemberPasses(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		m := w.join("a", nil)
		w.catchUp()
		m.leave()
		w.watch.Settle()
		if err := w.checker.Finish(); err != nil {
			w.t.Fatal(err)
		}
		if n := w.checker.Counts(); n.Inputs != inputs || n.Durable != inputs || n.Commits == 0 || n.HandedOut != inputs {
			w.t.Fatalf("not everything was seen: %s", w.checker.Summary())
		}
	})
}

// Cooperative rebalances up and down: a partition that is being revoked is committed in the
// generation that takes it away.
func TestRebalancesPass(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		a := w.join("a", nil)
		time.Sleep(2 * time.Second)
		b := w.join("b", nil)
		time.Sleep(3 * time.Second)
		c := w.join("c", nil)
		time.Sleep(3 * time.Second)
		a.leave()
		w.catchUp()
		time.Sleep(5 * time.Second)
		b.leave()
		c.leave()
		w.watch.Settle()
		if err := w.checker.Finish(); err != nil {
			w.t.Fatal(err)
		}
	})
}

// Whoever asks for the state between a request's observation and its handling must not make the
// observer miss its effect.
func TestSettleBeforeTheRequestIsHandled(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		checker := verify.NewChecker(verify.CheckerConfig{})
		second := newWatch(w.cluster, checker, Config{Group: "g", Inputs: []string{"in"}, Outputs: []string{"out"}})
		w.cluster.ControlKey(-1, func(req kmsg.Request) (kmsg.Response, error, bool) {
			second.observe(req)
			second.Settle()
			return nil, nil, false
		})
		cl := w.client(kgo.DefaultProduceTopic("in"))
		defer cl.Close()
		g := verify.NewGenerator(verify.GeneratorConfig{})
		for range 5 {
			in := g.Next()
			if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Key: in.Key, Value: in.Value}).FirstErr(); err != nil {
				w.t.Fatal(err)
			}
		}
		m := w.join("a", nil)
		time.Sleep(5 * time.Second)
		m.leave()
		second.Settle()
		if n := checker.Counts(); n.Inputs != 5 || n.Commits == 0 || n.CommittedPartitions == 0 {
			w.t.Fatalf("missed: %s", checker.Summary())
		}
	})
}

func TestCommitBeforeProduceIsCaught(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		m := w.join("a", func(m *member) { m.commitFirst = true })
		w.catchUp()
		m.leave()
		w.watch.Settle()
		if !w.checker.Has(verify.PrematureCommit) {
			w.t.Fatal(w.checker.Summary())
		}
	})
}

func TestCommitOneTooFarIsCaught(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		m := w.join("a", func(m *member) { m.farther = 1 })
		w.catchUp()
		m.leave()
		w.watch.Settle()
		if !w.checker.Has(verify.PrematureCommit) && !w.checker.Has(verify.CommitBeyondLog) {
			w.t.Fatal(w.checker.Summary())
		}
	})
}

// The late commit: a member that lost a partition to another commits what it still remembers. The
// broker accepts it.
func TestCommitOfLostPartitionIsCaught(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		a := w.join("a", nil)
		w.catchUp()
		b := w.join("b", nil)
		time.Sleep(10 * time.Second)
		if w.checker.Err() != nil {
			w.t.Fatal(w.checker.Err())
		}
		all := map[string]map[int32]kgo.EpochOffset{"in": {}}
		for p, c := range w.cluster.GroupInfo("g").Commits["in"] {
			all["in"][p] = kgo.EpochOffset{Epoch: -1, Offset: c.Offset}
		}
		a.commit(all)
		b.leave()
		a.leave()
		w.watch.Settle()
		if !w.checker.Has(verify.CommitNotHeld) {
			w.t.Fatal(w.checker.Summary())
		}
	})
}

// A commit that the broker applies and then answers with an error counts, one that it refuses does
// not.
func TestAppliedAndRefusedCommits(t *testing.T) {
	for _, c := range []struct {
		err  *kerr.Error
		seen bool
	}{{kerr.RequestTimedOut, true}, {kerr.NotCoordinator, false}, {kerr.GroupAuthorizationFailed, false}} {
		t.Run(c.err.Message, func(t *testing.T) {
			inWorld(t, verify.CheckerConfig{}, func(w *world) {
				m := w.join("a", nil)
				w.catchUp()
				w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: c.err, Count: -1})
				w.watch.Settle()
				before := w.checker.Counts().Commits
				ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
				defer cancel()
				m.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{"in": {0: {Epoch: -1, Offset: 1}}}, nil)
				w.watch.Settle()
				if seen := w.checker.Counts().Commits > before; seen != c.seen || w.checker.Has(verify.CommitBack) != c.seen {
					w.t.Errorf("counted %v, want %v: %s", seen, c.seen, w.checker.Summary())
				}
				m.leave()
			})
		})
	}
}

// A produce reply that is lost after the append, and a retry that the broker recognises: one
// output.
func TestAppendedThenFailedIsSeenOnce(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out", Err: kerr.NotEnoughReplicasAfterAppend, Count: 3})
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out", Err: kerr.NotLeaderForPartition, Count: 3})
		m := w.join("a", nil)
		w.catchUp()
		m.leave()
		w.watch.Settle()
		if err := w.checker.Finish(); err != nil {
			w.t.Fatal(err)
		}
	})
}

// Two commits in flight: the broker holds the first one's answer back, and the client does not wait
// for it.
func TestOverlappingCommitsAreCaught(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		m := w.join("a", nil)
		w.catchUp()
		w.cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.cluster.KeepControl()
			w.cluster.SleepControl(func() { time.Sleep(time.Second) })
			return nil, nil, false
		})
		g := w.cluster.GroupInfo("g")
		request := func() *kmsg.OffsetCommitRequest {
			member, generation := m.cl.GroupMetadata()
			req := kmsg.NewPtrOffsetCommitRequest()
			req.Group, req.MemberID, req.Generation = "g", member, generation
			topic := kmsg.NewOffsetCommitRequestTopic()
			topic.Topic = "in"
			part := kmsg.NewOffsetCommitRequestTopicPartition()
			part.Offset = g.Commits["in"][0].Offset
			topic.Partitions = append(topic.Partitions, part)
			req.Topics = append(req.Topics, topic)
			req.Version = 9
			return req
		}
		answers := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := request().RequestWith(w.t.Context(), m.cl)
				answers <- err
			}()
		}
		for range 2 {
			if err := <-answers; err != nil {
				w.t.Error(err)
			}
		}
		m.leave()
		w.watch.Settle()
		if !w.checker.Has(verify.CommitOverlap) {
			w.t.Fatal(w.checker.Summary())
		}
	})
}

// A client that lets a context end its wait for an answer kills the connection, and nobody knows
// whether the commit applies.
func TestCancelledCommitIsCaught(t *testing.T) {
	for _, c := range []struct {
		e2e  kgo.BrokerE2E
		want bool
	}{
		{kgo.BrokerE2E{ReadErr: fmt.Errorf("read: %w", context.Canceled)}, true},
		{kgo.BrokerE2E{ReadErr: context.DeadlineExceeded}, true},
		{kgo.BrokerE2E{ReadErr: io.EOF}, false}, // the broker's doing
		{kgo.BrokerE2E{WriteErr: context.Canceled}, false},
		{kgo.BrokerE2E{}, false},
	} {
		checker := verify.NewChecker(verify.CheckerConfig{})
		hook := InFlight(checker, "c").(*inFlight)
		for range 2 {
			hook.OnBrokerWrite(kgo.BrokerMetadata{}, int16(kmsg.OffsetCommit), 0, 0, 0, c.e2e.WriteErr)
			hook.OnBrokerE2E(kgo.BrokerMetadata{}, int16(kmsg.OffsetCommit), c.e2e)
		}
		if got := checker.Has(verify.CommitCancelled); got != c.want || checker.Has(verify.CommitOverlap) {
			t.Errorf("%+v: cancelled %v, want %v: %v", c.e2e, got, c.want, checker.Err())
		}
	}
}
