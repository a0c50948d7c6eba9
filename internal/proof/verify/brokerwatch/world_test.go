package brokerwatch

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

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
