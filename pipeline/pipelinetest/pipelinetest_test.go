package pipelinetest_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func echo(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
	return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
}

func config() pipeline.Config {
	return pipeline.Config{Handler: pipeline.HandlerFunc(echo), Logger: slog.New(slog.DiscardHandler), DeadLetter: pipeline.DeadLetter{Topic: "dead"}}
}

// TestHarness uses everything, in a bubble and outside.
func TestHarness(t *testing.T) {
	t.Run("virtual time", func(t *testing.T) { synctest.Test(t, useEverything) })
	t.Run("real time", useEverything)
}

func useEverything(t *testing.T) {
	h := pipelinetest.New(t, config(), pipelinetest.Topic("out", 2), pipelinetest.Manual())
	if got := h.Committed("in", 0); got != -1 {
		t.Errorf("committed %d before anything ran", got)
	}
	h.Feed(pipelinetest.Record("a", "1"), pipelinetest.Record("a", "2"), pipelinetest.Record("", "3"))
	h.FeedTo(2, pipelinetest.Record("b", "4"))
	if got := h.Outputs("out"); len(got) != 0 {
		t.Errorf("outputs %v", got)
	}
	h.Start()
	h.WaitDone(4)
	h.WaitIdle()
	if got := h.Outputs("out"); len(got) != 4 {
		t.Errorf("%d outputs", len(got))
	}
	h.Rebalance()

	fault := h.FailProduce("out", kerr.MessageTooLarge, -1)
	h.FeedTo(0, pipelinetest.Record("a", "5"))
	h.WaitDone(5)
	if got := h.Outputs("dead"); len(got) != 1 || string(got[0].Value) != "5" {
		t.Errorf("dead letters %v", got)
	}
	fault.Remove()
	h.FeedTo(0, pipelinetest.Record("a", "6"))
	h.WaitCommitted("in", 0, 1)
	h.WaitIdle()
	if err := h.Pipeline().Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	for range 2 {
		if err := h.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	}
}
