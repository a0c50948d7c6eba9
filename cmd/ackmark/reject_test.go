package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// reject is the script command `reject GROUP IN DEAD N ALL`: write N inputs, none if it is 0, and
// let a pipeline reject so many in all: those, and what was given back.
func reject(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: reject group in dead n all")
	}
	group, in, dead := args[0], args[1], args[2]
	n, err := strconv.Atoi(args[3])
	ts.Check(err)
	due, err := strconv.ParseInt(args[4], 10, 64)
	ts.Check(err)
	ctx, _, brokers := withInputs(ts, in, n, func(i int) (key, value []byte) {
		return fmt.Append(nil, "key ", i%5), fmt.Appendf(nil, `{"amount":"%d"}`, i)
	})
	running, stop := context.WithCancel(ctx)
	defer stop()
	var seen atomic.Int64
	log := slog.New(slog.DiscardHandler)
	ts.Check(pipeline.Run(running, pipeline.Config{
		Consumer: consumer.Config{Brokers: brokers, Group: group, Topics: []string{in}, Logger: log},
		Producer: producer.Direct(producer.DirectConfig{Brokers: brokers}), SourceHeaders: true, Logger: log,
		DeadLetter: pipeline.DeadLetter{Topic: dead},
		Handler: pipeline.HandlerFunc(func(_ context.Context, m *consumer.Message) ([]producer.Record, error) {
			if seen.Add(1) == due {
				stop() // the end finishes, writes the letters and commits
			}
			if m.Offset%2 == 1 {
				return nil, pipeline.Reject(errors.New("odd offset " + strconv.FormatInt(m.Offset, 10)))
			}
			return nil, pipeline.Reject(errors.New("bad amount"))
		}),
	}))
	if ctx.Err() != nil {
		ts.Fatalf("%d of %d inputs were seen", seen.Load(), due)
	}
}

// plain is the script command `plain TOPIC KEY VALUE [HEADER=VALUE…]`: write one record. Values are
// as in Go's strings, without quotes; null is none.
func plain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: plain topic key value [header=value…]")
	}
	text := func(s string) []byte {
		if s == "null" {
			return nil
		}
		unquoted, err := strconv.Unquote(`"` + s + `"`)
		ts.Check(err)
		return []byte(unquoted)
	}
	rec := &kgo.Record{Topic: args[0], Key: text(args[1]), Value: text(args[2])}
	for _, arg := range args[3:] {
		name, value, _ := strings.Cut(arg, "=")
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: name, Value: text(value)})
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(processesOf(ts).broker.Addrs()...))
	ts.Check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ts.Check(client.ProduceSync(ctx, rec).FirstErr())
}
