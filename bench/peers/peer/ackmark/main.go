// Command ackmark is the job by Ackmark: with a producer of its own, or through the sidecar, also
// exactly-once.
//
// Source: README.md and docs/exactly-once.md. All is at its default; the state directory is the one
// that docs/operations.md asks for.
package main

import (
	"context"
	"log"
	"os"

	"github.com/ackmark/ackmark/bench/peers/peer/settings"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

func main() {
	ctx, s := settings.Read()
	out := producer.Direct(producer.DirectConfig{Brokers: s.Brokers})
	if s.Sidecar != "" {
		out = producer.Dial(s.Sidecar)
	}
	var mode pipeline.Mode
	if err := mode.UnmarshalText([]byte(os.Getenv("MODE"))); err != nil {
		log.Fatal("MODE: ", err)
	}
	err := pipeline.Run(ctx, pipeline.Config{
		Mode: mode,
		Consumer: consumer.Config{
			Brokers: s.Brokers, Group: s.Group, Topics: []string{s.Input}, CommitEvery: s.CommitEvery, InstanceID: s.InstanceID, StateDir: s.StateDir,
		},
		Producer: out,
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: s.Output, Key: in.Key, Value: settings.Transform(in.Value)}}, nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
}
