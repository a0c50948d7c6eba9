package pipeline_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

func TestHandlerTimeoutIsAPlainError(t *testing.T) {
	for name, late := range map[string]error{"returns the error": errBroken, "returns nil": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				cfg := quiet(pipeline.Config{HandlerTimeout: time.Minute, Concurrency: 1, Backoff: pipeline.Backoff{Jitter: -1}})
				cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
					if calls.Add(1) > 1 {
						return upper(ctx, in)
					}
					<-ctx.Done()
					if !errors.Is(context.Cause(ctx), pipeline.ErrHandlerTimeout) {
						t.Errorf("the context ended with %v", context.Cause(ctx))
					}
					return nil, late
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Timeout(10*time.Minute))
				begun := time.Now()
				h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"))
				h.WaitDone(2)
				if took := time.Since(begun); took < time.Minute || took > 63*time.Second {
					t.Errorf("took %s", took)
				}
				if got := strings.Join(values(h, "out"), " "); got != "A B" || calls.Load() != 3 {
					t.Errorf("outputs %q after %d calls", got, calls.Load())
				}
				if s := h.State(); s.Timeouts != 1 || s.Retries != 1 {
					t.Errorf("state %+v", s)
				}
			})
		})
	}
}

func TestStuckHandlerStopsThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		cfg := quiet(pipeline.Config{HandlerTimeout: time.Minute, HandlerGrace: 20 * time.Second, Concurrency: 4})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "stuck" {
				<-release // ignores ctx
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Timeout(10*time.Minute))
		begun := time.Now()
		h.Feed(pipelinetest.Record("k1", "a"), pipelinetest.Record("k2", "stuck"), pipelinetest.Record("k3", "b"))
		err := h.WaitEnded()
		stuck, ok := errors.AsType[*pipeline.StuckError](err)
		if !ok || stuck.Input.Offset != 1 || string(stuck.Input.Key) != "k2" || stuck.Input.Topic != "in" || stuck.Running < 80*time.Second {
			t.Fatalf("Run returned %v", err)
		}
		if took := time.Since(begun); took > 85*time.Second {
			t.Errorf("took %s: nobody waits for the stuck handler", took)
		}
		if got := h.Committed("in", 0); got != 1 {
			t.Errorf("committed %d, want 1", got)
		}
		if info := h.Cluster().GroupInfo(pipelinetest.DefaultGroup); len(info.Members) != 0 {
			t.Errorf("%d members are left in the group", len(info.Members))
		}
	})
}

func TestHandlerThatOutlivesTheShutdownIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocking(false)
		defer close(b.release)
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: b, Concurrency: 2}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(pipelinetest.Record("k", "slow"))
		<-b.started
		begun := time.Now()
		err := h.Stop()
		_, abandoned := errors.AsType[*consumer.AbandonedError](err)
		if stuck, ok := errors.AsType[*pipeline.StuckError](err); !ok || !abandoned || stuck.Input.Offset != 0 {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{Concurrency: 2})
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			runtime.Goexit()
			return nil, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		h.Feed(pipelinetest.Record("k", "v"))
		if err := h.WaitEnded(); err == nil || !strings.Contains(err.Error(), "Goexit") {
			t.Errorf("Run returned %v", err)
		}
	})
}
