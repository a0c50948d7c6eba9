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

// blocking handles inputs with the value "slow" until release is closed, or its context ends when
// honest.
type blocking struct {
	started chan string
	release chan struct{}
	honest  bool
	cause   chan error
}

func newBlocking(honest bool) *blocking {
	return &blocking{make(chan string, 100), make(chan struct{}), honest, make(chan error, 100)}
}

func (b *blocking) Handle(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
	if string(in.Value) == "slow" {
		b.started <- "slow"
		var done <-chan struct{}
		if b.honest {
			done = ctx.Done()
		}
		select {
		case <-b.release:
		case <-done:
			b.cause <- context.Cause(ctx)
			return nil, ctx.Err()
		}
	}
	return upper(ctx, in)
}

func TestShutdownLetsHandlersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocking(true)
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: b, Concurrency: 1}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		h.Feed(strings2records([]string{"slow", "b", "c"})...)
		h.Start()
		<-b.started
		time.AfterFunc(5*time.Second, func() { close(b.release) })
		if err := h.Stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if got := h.Committed("in", 0); got != 1 {
			t.Errorf("committed %d: the input that ran is done, the queued ones are not", got)
		}
		if got := len(h.Outputs("out")); got != 1 {
			t.Errorf("%d outputs", got)
		}
	})
}

func TestShutdownAbandonsAfterTheDrainDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBlocking(true)
		cfg := quiet(pipeline.Config{Handler: b, Concurrency: 1, DeadLetter: pipeline.DeadLetter{Topic: "dead"}, MaxAttempts: 1})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		h.Feed(strings2records([]string{"a", "slow", "c"})...)
		h.Start()
		<-b.started
		begun := time.Now()
		err := h.Stop()
		if a, ok := errors.AsType[*consumer.AbandonedError](err); !ok || a.Partitions[0].Count != 1 || a.Partitions[0].First != 1 {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begun); took > 12*time.Second {
			t.Errorf("took %s", took)
		}
		if cause := <-b.cause; !errors.Is(cause, consumer.ErrShutdown) {
			t.Errorf("the handler's context ended with %v", cause)
		}
		if got := h.Committed("in", 0); got != 1 {
			t.Errorf("committed %d", got)
		}
		if n := len(h.Outputs("dead")); n != 0 {
			t.Errorf("%d dead letters: a shutdown is not an outcome", n)
		}
	})
}

// TestShutdownIsNoTimeForRetries: an input that waits for its next attempt, or fails during the
// drain, is given back at once.
func TestShutdownIsNoTimeForRetries(t *testing.T) {
	app, stop := context.WithCancel(context.Background())
	defer stop()
	for name, handler := range map[string]handle{
		"backoff": func(context.Context, *consumer.Message) ([]producer.Record, error) {
			return nil, pipeline.Retry(errBroken, time.Hour)
		},
		"own context of the app": func(ctx context.Context, _ *consumer.Message) ([]producer.Record, error) {
			time.Sleep(5 * time.Second)
			return nil, context.Canceled
		},
		"rejected with the end of a context": func(ctx context.Context, _ *consumer.Message) ([]producer.Record, error) {
			time.Sleep(5 * time.Second)
			return nil, pipeline.Reject(context.DeadlineExceeded)
		},
		"plain": func(ctx context.Context, _ *consumer.Message) ([]producer.Record, error) {
			time.Sleep(5 * time.Second)
			return nil, errBroken
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := quiet(pipeline.Config{Handler: pipeline.HandlerFunc(handler), DeadLetter: pipeline.DeadLetter{Topic: "dead"}, MaxAttempts: 2})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
				h.Feed(pipelinetest.Record("k", "v"))
				h.Wait("the handler to run", func() bool { s := h.State(); return s.Busy+int(s.Retries) > 0 })
				begun := time.Now()
				if err := h.Stop(); err != nil {
					t.Errorf("Run returned %v", err)
				}
				if took := time.Since(begun); took > 8*time.Second {
					t.Errorf("took %s", took)
				}
				if n := len(h.Outputs("dead")); n != 0 || h.Committed("in", 0) > 0 {
					t.Errorf("%d dead letters, committed %d", n, h.Committed("in", 0))
				}
			})
		})
	}
	_ = app
}

func TestRevokeWhileAHandlerRuns(t *testing.T) {
	for name, honest := range map[string]bool{"honest": true, "ignores its context": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBlocking(honest)
				cfg := quiet(pipeline.Config{Handler: b, Concurrency: 8, DeadLetter: pipeline.DeadLetter{Topic: "dead"}, MaxAttempts: 1})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 2), pipelinetest.Topic("out", 2), pipelinetest.Timeout(3*time.Minute))
				h.Wait("both partitions", func() bool { return len(h.State().Consumer.Partitions) == 2 })
				for p := range int32(2) {
					r := pipelinetest.Record("", "slow")
					r.Topic, r.Partition = "in", p
					h.FeedTo(p, r)
				}
				<-b.started
				<-b.started
				leave := h.Join() // takes one of the partitions away after the drain deadline
				s := h.State()
				if len(s.Consumer.Partitions) != 1 {
					t.Fatalf("holds %d partitions", len(s.Consumer.Partitions))
				}
				kept := s.Consumer.Partitions[0].Partition
				if honest {
					if cause := <-b.cause; !errors.Is(cause, consumer.ErrRevoked) {
						t.Errorf("the handler's context ended with %v", cause)
					}
				}
				close(b.release) // the late one ends now, too: its result must change nothing
				h.WaitCommitted("in", kept, 1)
				if got := h.Committed("in", 1-kept); got > 0 {
					t.Errorf("committed %d for the revoked partition", got)
				}
				if n := len(h.Outputs("out")); n != 1 {
					t.Errorf("%d outputs, want only that of the partition that stayed", n)
				}
				leave() // it comes back, in a new epoch: its input runs again
				h.WaitCommitted("in", 1-kept, 1)
				if n := len(h.Outputs("out")); n != 2 {
					t.Errorf("%d outputs", n)
				}
				if n := len(h.Outputs("dead")); n != 0 {
					t.Errorf("%d dead letters: a revocation is not an outcome", n)
				}
			})
		})
	}
}

// TestRevokeDoesNotWaitForAnAttemptFarAway: what waits in backoff is given back when its partition
// leaves.
func TestRevokeDoesNotWaitForBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{Concurrency: 8})
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			return nil, pipeline.Retry(errBroken, time.Hour)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 2))
		h.Wait("both partitions", func() bool { return len(h.State().Consumer.Partitions) == 2 })
		h.FeedTo(0, pipelinetest.Record("", "a"))
		h.FeedTo(1, pipelinetest.Record("", "b"))
		h.Wait("both to fail", func() bool { return h.State().Retries == 2 })
		begun := time.Now()
		h.Join()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the rebalance took %s", took)
		}
	})
}
