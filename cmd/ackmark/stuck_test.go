package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// stuck is the script command `stuck SOCKET APP GROUP IN OUT`: until the script ends a pipeline
// reads ten inputs through a sidecar, and the handler of the one at offset 3 fails and asks for an
// hour.
func stuck(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 5 {
		ts.Fatalf("usage: stuck socket app group in out")
	}
	_, _, brokers := withInputs(ts, args[3], 10, func(int) (key, value []byte) { return []byte("customer\t3"), []byte("x") })
	log := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- pipeline.Run(ctx, pipeline.Config{
			Consumer: consumer.Config{Brokers: brokers, Group: args[2], Topics: []string{args[3]}, Logger: log, CommitEvery: 10 * time.Millisecond, DrainTimeout: time.Millisecond},
			Producer: producer.DialConfig{Target: "unix://" + args[0], App: args[1], Logger: log}.New(), Logger: log,
			Handler: pipeline.HandlerFunc(func(_ context.Context, m *consumer.Message) ([]producer.Record, error) {
				if m.Offset == 3 {
					return nil, pipeline.Retry(errors.New("the table \x1b[1mcustomers is locked"), time.Hour)
				}
				return []producer.Record{{Topic: args[4], Key: m.Key, Value: m.Value}}, nil
			}),
		})
	}()
	ts.Defer(func() {
		stop()
		<-ended
	})
}
