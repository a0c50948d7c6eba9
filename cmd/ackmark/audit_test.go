package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// uppercase is the script command `uppercase GROUP IN OUT N`: write N inputs, and let a pipeline
// with source headers process all that are in the topic.
func uppercase(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: uppercase group in out n")
	}
	group, in, out := args[0], args[1], args[2]
	n, err := strconv.Atoi(args[3])
	ts.Check(err)
	ctx, client, brokers := withInputs(ts, in, n, func(i int) (key, value []byte) {
		return fmt.Append(nil, i%5), fmt.Appendf(nil, "input %d", i)
	})
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, in)
	ts.Check(err)
	all := int64(0)
	ends.Each(func(end kadm.ListedOffset) { all += end.Offset })

	running, stop := context.WithCancel(ctx)
	var seen atomic.Int64
	log := slog.New(slog.DiscardHandler)
	ts.Check(pipeline.Run(running, pipeline.Config{
		Consumer: consumer.Config{Brokers: brokers, Group: group, Topics: []string{in}, Logger: log},
		Producer: producer.Direct(producer.DirectConfig{Brokers: brokers}), SourceHeaders: true, Logger: log,
		Handler: pipeline.HandlerFunc(func(_ context.Context, m *consumer.Message) ([]producer.Record, error) {
			if seen.Add(1) == all {
				stop() // the end finishes, delivers and commits
			}
			return []producer.Record{{Topic: out, Key: m.Key, Value: bytes.ToUpper(m.Value)}}, nil
		}),
	}))
	ts.Check(ctx.Err())
}

// withInputs writes so many inputs to a topic of the script's broker. The client is closed, and the
// context ends, with the script, or after 20 s.
func withInputs(ts *testscript.TestScript, topic string, n int, input func(i int) (key, value []byte)) (context.Context, *kgo.Client, []string) {
	brokers := processesOf(ts).broker.Addrs()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	ts.Defer(func() {
		cancel()
		client.Close()
	})
	var inputs []*kgo.Record
	for i := range n {
		key, value := input(i)
		inputs = append(inputs, &kgo.Record{Topic: topic, Key: key, Value: value})
	}
	ts.Check(client.ProduceSync(ctx, inputs...).FirstErr())
	return ctx, client, brokers
}

// rewind is the script command `rewind GROUP`: the group has committed 0 for all partitions of the
// topic in.
func rewind(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: rewind group")
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(processesOf(ts).broker.Addrs()...))
	ts.Check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, "in")
	ts.Check(err)
	ts.Check(admin.CommitAllOffsets(ctx, args[0], starts.Offsets()))
}

// aborted is the script command `aborted TOPIC N`: a transaction writes N records and is aborted.
func aborted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: aborted topic n")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(processesOf(ts).broker.Addrs()...), kgo.TransactionalID("aborted"))
	ts.Check(err)
	defer client.Close()
	ts.Check(client.BeginTransaction())
	for range n {
		ts.Check(client.ProduceSync(ctx, &kgo.Record{Topic: args[0], Value: []byte("nobody sees it")}).FirstErr())
	}
	ts.Check(client.EndTransaction(ctx, kgo.TryAbort))
}
