package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// Members of a group come and go, some inputs are filtered, some have an output that no topic takes
// and become dead letters: a reader of committed records sees each input's output once, and the
// group has everything.
func TestExactlyOnceInAGroup(t *testing.T) {
	for _, protocol := range []consumer.Protocol{consumer.ClassicProtocol, consumer.ConsumerProtocol} {
		t.Run(protocol.String(), func(t *testing.T) { exactlyOnceDirect(t, protocol) })
	}
}

func exactlyOnceDirect(t *testing.T, protocol consumer.Protocol) {
	exactlyOnceInAGroup(t, protocol, func(brokers []string, id string) producer.Producer {
		return producer.Direct(producer.DirectConfig{Brokers: brokers, TransactionalID: id, CommitEvery: 20 * time.Millisecond})
	}, func([]string) {})
}

// The same through one sidecar, in whose transactions all of them are. It ends at any moment,
// without the time to end its transaction in order, and the apps go on with the next one.
func TestExactlyOnceInAGroupThroughSidecars(t *testing.T) {
	var target atomic.Pointer[string]
	var now *sidecartest.Sidecar
	next := func(brokers []string) {
		if now != nil {
			_ = now.Stop() // it says what it did not deliver
		}
		now = sidecartest.Start(t, brokers, func(c *sidecar.Config) {
			c.TransactionalID, c.CommitEvery, c.DrainTimeout = "pod-0", 20*time.Millisecond, time.Nanosecond
		})
		target.Store(&now.Target)
	}
	exactlyOnceInAGroup(t, consumer.ClassicProtocol, func(brokers []string, _ string) producer.Producer {
		if now == nil {
			next(brokers)
		}
		return producer.DialConfig{Target: "unix:///of-now", Logger: slog.New(slog.DiscardHandler), Dialer: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(*target.Load(), "unix://"))
		}}.New()
	}, next)
}

func exactlyOnceInAGroup(t *testing.T, protocol consumer.Protocol, out func(brokers []string, id string) producer.Producer, disturb func(brokers []string)) {
	const inputs, partitions = 3000, 4
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "in", "out", "dlq"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client := func(opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		return cl
	}
	feeder := client()
	defer feeder.Close()
	admin := kadm.NewClient(feeder)
	var handled atomic.Int64
	start := func(id string) (stop func()) {
		p, err := pipeline.New(pipeline.Config{
			Mode:       pipeline.ExactlyOnce,
			Consumer:   consumer.Config{Brokers: c.ListenAddrs(), Group: "g", Topics: []string{"in"}, HeartbeatInterval: 20 * time.Millisecond, Protocol: protocol},
			Producer:   out(c.ListenAddrs(), id),
			DeadLetter: pipeline.DeadLetter{Topic: "dlq"},
			Logger:     slog.New(slog.DiscardHandler),
			Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
				handled.Add(1)
				switch {
				case in.Offset%10 == 3:
					return nil, nil
				case in.Offset%100 == 50:
					return []producer.Record{{Topic: "out", Value: make([]byte, 2<<20)}}, nil
				}
				return []producer.Record{{Topic: "out", Key: in.Key, Value: fmt.Appendf(nil, "%d-%d", in.Partition, in.Offset)}}, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	feed := func(n int) {
		for i := range n {
			feeder.Produce(t.Context(), &kgo.Record{Topic: "in", Key: fmt.Append(nil, i), Value: []byte("v")}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	until := func(n int64) {
		for handled.Load() < n {
			<-poll.C
		}
	}
	stopA := start("a")
	feed(inputs / 3)
	until(inputs / 6)
	stopB := start("b")
	feed(inputs / 3)
	until(inputs / 2)
	disturb(c.ListenAddrs())
	until(inputs / 3 * 2 * 9 / 10)
	stopA()
	feed(inputs / 3)
	stopA = start("a")
	until(inputs * 9 / 10)
	disturb(c.ListenAddrs())
	lag := func() (left int64) {
		ends, err := admin.ListEndOffsets(t.Context(), "in")
		if err != nil {
			t.Fatal(err)
		}
		have, err := admin.FetchOffsets(t.Context(), "g")
		if err != nil {
			t.Fatal(err)
		}
		ends.Each(func(o kadm.ListedOffset) {
			at, _ := have.Lookup("in", o.Partition)
			left += o.Offset - max(0, at.At)
		})
		return left
	}
	if err := feeder.Flush(t.Context()); err != nil { // or there is no lag before all is fed
		t.Fatal(err)
	}
	for lag() > 0 {
		<-poll.C
	}
	stopB()
	stopA()

	ends, err := admin.ListEndOffsets(t.Context(), "out", "dlq")
	if err != nil {
		t.Fatal(err)
	}
	reader := client(kgo.ConsumeTopics("out", "dlq"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer reader.Close()
	seen, letters, at := map[string]int{}, 0, map[string]int64{}
	behind := func() (yes bool) {
		ends.Each(func(o kadm.ListedOffset) { yes = yes || at[fmt.Sprint(o.Topic, o.Partition)] < o.Offset })
		return yes
	}
	for behind() {
		f := reader.PollFetches(t.Context())
		if t.Context().Err() != nil {
			t.Fatal("a transaction was left open")
		}
		f.EachRecord(func(r *kgo.Record) {
			at[fmt.Sprint(r.Topic, r.Partition)] = r.Offset + 1
			switch {
			case r.Attrs.IsControl():
			case r.Topic == "dlq":
				letters++
			default:
				seen[string(r.Value)]++
			}
		})
	}
	in, err := admin.ListEndOffsets(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	outputs, wantLetters := 0, 0
	in.Each(func(o kadm.ListedOffset) {
		for offset := range o.Offset {
			switch {
			case offset%10 == 3:
			case offset%100 == 50:
				wantLetters++
			default:
				if outputs++; seen[fmt.Sprintf("%d-%d", o.Partition, offset)] != 1 {
					t.Errorf("the output of %d@%d is there %d times", o.Partition, offset, seen[fmt.Sprintf("%d-%d", o.Partition, offset)])
				}
			}
		}
	})
	if len(seen) != outputs || letters != wantLetters {
		t.Errorf("%d outputs and %d letters, want %d and %d", len(seen), letters, outputs, wantLetters)
	}
}
