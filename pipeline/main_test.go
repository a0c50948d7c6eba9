package pipeline_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is for pipelines that fail on purpose.
func quiet(cfg pipeline.Config) pipeline.Config {
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// handle is the type of most handlers here.
type handle = func(ctx context.Context, in *consumer.Message) ([]producer.Record, error)

func upper(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
	return []producer.Record{{Topic: "out", Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
}

func values(h *pipelinetest.Harness, topic string) []string {
	var all []string
	for _, r := range h.Outputs(topic) {
		all = append(all, string(r.Value))
	}
	return all
}
