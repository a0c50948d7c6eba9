package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// A middleware may bound the time of an input. When that is over the input is rejected: it is not
// given back, or the ack mark of a partition that stays would stand still without a word.
func TestMiddlewareBoundsTheTimeOfAnInput(t *testing.T) {
	for what, fail := range map[string]func(context.Context) error{
		"in a pause": func(context.Context) error { return errors.New("bad") },
		"in a call":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := quiet(pipeline.Config{Concurrency: 2, MaxAttempts: 3, Backoff: pipeline.Backoff{Initial: 10 * time.Second}})
				cfg.DeadLetter.Topic = "dead"
				cfg.Middleware.AroundInput = []func(pipeline.Handler) pipeline.Handler{func(next pipeline.Handler) pipeline.Handler {
					return pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
						ctx, cancel := context.WithTimeout(ctx, time.Second)
						defer cancel()
						return next.Handle(ctx, in)
					})
				}}
				cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
					if string(in.Value) == "bad" {
						return nil, fail(ctx)
					}
					return upper(ctx, in)
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Topic("dead", 1))
				h.Feed(pipelinetest.Record("k", "bad"), pipelinetest.Record("k", "good"))
				h.WaitCommitted("in", 0, 2)
				if got := len(h.Outputs("dead")); got != 1 {
					t.Errorf("%d dead letters", got)
				}
			})
		})
	}
}
