package brokerwatch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a broker under watch, with inputs in it, inside a synctest bubble.
type world struct {
	t       *testing.T
	net     *kfake.VirtualNetwork
	cluster *kfake.Cluster
	checker *verify.Checker
	watch   *Watch
}

const inputs = 200

func inWorld(t *testing.T, cfg verify.CheckerConfig, f func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: new(kfake.VirtualNetwork)}
		var err error
		w.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(w.net.Listen),
			kfake.SeedTopics(4, "in"), kfake.SeedTopics(3, "out"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.cluster.Close)
		cfg.Group = "g"
		w.checker = verify.NewChecker(cfg)
		w.watch = New(w.cluster, w.checker, Config{Group: "g", Inputs: []string{"in"}, Outputs: []string{"out"}})
		w.feed()
		f(w)
		w.watch.Settle()
		if err := w.watch.Err(); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers("localhost:9092"), kgo.Dialer(w.net.DialContext)}, opts...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return cl
}

func (w *world) feed() {
	cl := w.client(kgo.DefaultProduceTopic("in"), kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	defer cl.Close()
	g := verify.NewGenerator(verify.GeneratorConfig{Seed: 1, Keys: 20})
	for range inputs / 20 {
		var rs []*kgo.Record
		for range 20 {
			in := g.Next()
			rs = append(rs, &kgo.Record{Key: in.Key, Value: in.Value})
		}
		if err := cl.ProduceSync(w.t.Context(), rs...).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// member is the simplest consumer that keeps the promises, with seams to break them at.
type member struct {
	w           *world
	cl          *kgo.Client
	commitFirst bool  // commits a batch before it is produced
	farther     int64 // added to each committed offset
	stop        context.CancelFunc
	done        chan struct{}
	once        sync.Once
}

func (w *world) join(name string, change func(*member)) *member {
	m := &member{w: w, done: make(chan struct{})}
	if change != nil {
		change(m)
	}
	m.cl = w.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("in"), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(500*time.Millisecond), kgo.DefaultProduceTopic("out"),
		kgo.WithHooks(InFlight(w.checker, name)))
	ctx, stop := context.WithCancel(w.t.Context())
	m.stop = stop
	w.t.Cleanup(m.leave)
	go func() {
		defer close(m.done)
		m.run(ctx)
	}()
	return m
}

func (m *member) leave() {
	m.once.Do(func() {
		m.stop()
		<-m.done
		m.cl.AllowRebalance()
		m.cl.Close()
	})
}

func (m *member) run(ctx context.Context) {
	for {
		fs := m.cl.PollRecords(ctx, 20)
		if ctx.Err() != nil || fs.IsClientClosed() {
			return
		}
		offsets := make(map[string]map[int32]kgo.EpochOffset)
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			if n := len(p.Records); n > 0 {
				last := p.Records[n-1]
				offsets[p.Topic] = withOffset(offsets[p.Topic], p.Partition, kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1 + m.farther})
			}
		})
		if m.commitFirst {
			m.commit(offsets)
		}
		var outs []*kgo.Record
		fs.EachRecord(func(r *kgo.Record) {
			m.w.checker.HandedOut(verify.Partition{Topic: r.Topic, Partition: r.Partition}, r.Offset, r.Value)
			outs = append(outs, &kgo.Record{Key: r.Key, Value: bytes.ToUpper(r.Value)})
		})
		if err := m.cl.ProduceSync(context.WithoutCancel(ctx), outs...).FirstErr(); err != nil {
			m.w.t.Error(err)
		}
		m.commit(offsets)
		m.cl.AllowRebalance()
	}
}

func withOffset(ps map[int32]kgo.EpochOffset, p int32, o kgo.EpochOffset) map[int32]kgo.EpochOffset {
	if ps == nil {
		ps = make(map[int32]kgo.EpochOffset)
	}
	ps[p] = o
	return ps
}

func (m *member) commit(offsets map[string]map[int32]kgo.EpochOffset) {
	if len(offsets) > 0 {
		m.cl.CommitOffsetsSync(m.w.t.Context(), offsets, nil)
	}
}

// catchUp waits in virtual time until the group is at the end.
func (w *world) catchUp() {
	w.t.Helper()
	for range 600 {
		time.Sleep(100 * time.Millisecond)
		g, sum := w.cluster.GroupInfo("g"), int64(0)
		for _, c := range g.Commits["in"] {
			sum += c.Offset
		}
		if sum >= inputs {
			return
		}
	}
	w.t.Fatalf("no progress: %s", w.checker.Summary())
}

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

// Cooperative rebalances up and down: a partition that is being revoked is committed in the generation that takes it away.
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

// Whoever asks for the state between a request's observation and its handling must not make the observer miss its effect.
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

// The late commit: a member that lost a partition to another commits what it still remembers. The broker accepts it.
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

// A commit that the broker applies and then answers with an error counts, one that it refuses does not.
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

// A produce reply that is lost after the append, and a retry that the broker recognises: one output.
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

// Two commits in flight: the broker holds the first one's answer back, and the client does not wait for it.
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

// A client that lets a context end its wait for an answer kills the connection, and nobody knows whether the commit applies.
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

// What this observer cannot judge it must not pass over.
func TestTransactionsAreNotUnderstood(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		cl := w.client(kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("out"))
		defer cl.Close()
		if err := cl.BeginTransaction(); err != nil {
			w.t.Fatal(err)
		}
		if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
		if err := cl.EndTransaction(w.t.Context(), kgo.TryCommit); err != nil {
			w.t.Fatal(err)
		}
		if w.watch.Err() == nil {
			w.t.Error("a transactional batch passed without a word")
		}
		w.watch.problem = nil
	})
}
