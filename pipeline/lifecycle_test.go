package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar"
)

func minimal() pipeline.Config {
	return pipeline.Config{
		Consumer: consumer.Config{Brokers: []string{"localhost:1"}, Group: "g", Topics: []string{"in"}},
		Producer: producertest.NewFake(producertest.FakeConfig{}),
		Handler:  pipeline.HandlerFunc(upper),
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, change := range map[string]func(*pipeline.Config){
		"Producer":           func(c *pipeline.Config) { c.Producer, c.DeadLetter.Topic = nil, "dead" },
		"BatchWait":          func(c *pipeline.Config) { c.BatchWait = time.Second },
		"Loops":              func(c *pipeline.Config) { c.Loops = 7 },
		"Handler":            func(c *pipeline.Config) { c.Handler = nil },
		"BatchHandler":       func(c *pipeline.Config) { c.BatchHandler = &batches{} },
		"Order":              func(c *pipeline.Config) { c.Order = 9 },
		"Concurrency":        func(c *pipeline.Config) { c.Concurrency = -1 },
		"MaxBatch":           func(c *pipeline.Config) { c.MaxBatch = -1 },
		"MaxAttempts":        func(c *pipeline.Config) { c.MaxAttempts = -3 },
		"HandlerTimeout":     func(c *pipeline.Config) { c.HandlerTimeout = 1 },
		"HandlerGrace":       func(c *pipeline.Config) { c.HandlerGrace = -1 },
		"DeadLetter.Topic":   func(c *pipeline.Config) { c.DeadLetter.Topic = "in" },
		"Backoff.Initial":    func(c *pipeline.Config) { c.Backoff.Initial = -1 },
		"Backoff.Max":        func(c *pipeline.Config) { c.Backoff = pipeline.Backoff{Initial: time.Second, Max: 1} },
		"Backoff.Multiplier": func(c *pipeline.Config) { c.Backoff.Multiplier = 0.5 },
		"Backoff.Jitter":     func(c *pipeline.Config) { c.Backoff.Jitter = 1.5 },
		"Middleware": func(c *pipeline.Config) {
			c.Middleware.AroundBatch = []func(pipeline.BatchHandler) pipeline.BatchHandler{func(b pipeline.BatchHandler) pipeline.BatchHandler { return b }}
		},
	} {
		cfg := minimal()
		change(&cfg)
		_, err := pipeline.New(cfg)
		if e, ok := errors.AsType[*pipeline.ConfigError](err); !ok || e.Field != field || e.Remedy == "" || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// What is wrong with the consumer and with the producer is said along with the rest, each field in
// the words of what it was set in, and any package's name of the one type finds it.
func TestConfigErrorIsOneType(t *testing.T) {
	cfg := minimal()
	cfg.Consumer.Group, cfg.Consumer.Options, cfg.MaxAttempts = "", []kgo.Opt{kgo.ClientID("x")}, -1
	cfg.Producer = producer.Direct(producer.DirectConfig{CloseTimeout: -1, OnFull: 9})
	_, err := pipeline.New(cfg)
	for _, text := range []string{
		"pipeline: Config.Consumer.Group is missing: ", "pipeline: Config.MaxAttempts is -1: ", "pipeline: Config.Producer is invalid: ",
		"DirectConfig.CloseTimeout is -1ns: ", "producer: DirectConfig.OnFull is OnFull(9): ",
	} {
		if err == nil || strings.Count(err.Error(), text) != 1 {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	of, ok := errors.AsType[*producer.Error](err)
	if !ok || of.Code != producer.CodeInvalidConfig {
		t.Fatalf("the producer's error is lost: %v", err)
	}
	inner, ok := errors.AsType[*consumer.ConfigError](of)
	if !ok || inner.Config != "producer.DirectConfig" || inner.Field != "CloseTimeout" {
		t.Errorf("got %#v", inner)
	}
	if outer, ok := errors.AsType[*producer.ConfigError](err); !ok || outer.Config != "pipeline.Config" {
		t.Errorf("got %#v", outer)
	}
	cfg = minimal()
	cfg.Consumer.Options = []kgo.Opt{kgo.AutoCommitMarks()}
	_, err = pipeline.New(cfg)
	if e, ok := errors.AsType[*sidecar.ConfigError](err); !ok || e.Field != "Consumer.Options[0]" || e.Value != "kgo.AutoCommitMarks" {
		t.Errorf("got %v", err)
	}
}

func TestCloseBeforeRun(t *testing.T) {
	cfg := minimal()
	p, err := pipeline.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context()); !errors.Is(err, pipeline.ErrNotRunning) {
		t.Errorf("Check says %v", err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := p.Run(t.Context()); !errors.Is(err, pipeline.ErrClosed) {
		t.Errorf("Run after Close: %v", err)
	}
	if err := p.Check(t.Context()); !errors.Is(err, pipeline.ErrClosed) {
		t.Errorf("Check says %v", err)
	}
	if err := cfg.Producer.Check(t.Context()); !errors.Is(err, producer.ErrClosed) {
		t.Errorf("the pipeline owns the producer, but it is %v", err)
	}
}

func TestRunTwiceAndCloseWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{})
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), Producer: fake}))
		p := h.Pipeline()
		h.Wait("the pipeline to work", func() bool { return p.Check(t.Context()) == nil })
		if err := p.Run(t.Context()); !errors.Is(err, pipeline.ErrAlreadyRun) {
			t.Errorf("Run beside Run: %v", err)
		}
		var closers sync.WaitGroup
		for range 3 {
			closers.Go(func() {
				if err := p.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
		closers.Wait()
		if err := h.WaitEnded(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if err := p.Run(t.Context()); !errors.Is(err, pipeline.ErrAlreadyRun) {
			t.Errorf("Run after Run: %v", err)
		}
		if err := p.Check(t.Context()); !errors.Is(err, pipeline.ErrClosed) {
			t.Errorf("Check says %v", err)
		}
		if err := fake.Check(t.Context()); !errors.Is(err, producer.ErrClosed) {
			t.Errorf("the pipeline owns the producer, but it is %v", err)
		}
	})
}

func TestRunClosesTheProducerOfAnInvalidConfig(t *testing.T) {
	cfg := minimal()
	cfg.Concurrency = -1
	if err := pipeline.Run(t.Context(), cfg); err == nil {
		t.Error("no error")
	}
	if err := cfg.Producer.Check(t.Context()); !errors.Is(err, producer.ErrClosed) {
		t.Errorf("the producer is %v", err)
	}
}

func TestKeepProducer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{})
		defer fake.Close()
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), Producer: fake, KeepProducer: true}))
		h.Feed(pipelinetest.Record("k", "v"))
		h.WaitDone(1)
		if m, _ := fake.Assigned(pipelinetest.DefaultGroup); m.MemberID == "" || m.Consumer == 0 {
			t.Errorf("the producer knows membership %+v", m)
		}
		if err := h.Stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if err := fake.Check(t.Context()); err != nil {
			t.Errorf("the producer is %v", err)
		}
		if m, _ := fake.Assigned(pipelinetest.DefaultGroup); m != (producer.Membership{}) {
			t.Errorf("the producer still knows membership %+v", m)
		}
	})
}

func TestProducerClosedUnderneath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{})
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), Producer: fake}))
		h.Feed(pipelinetest.Record("k", "v"))
		h.WaitDone(1)
		fake.Close()
		h.Feed(pipelinetest.Record("k", "w"))
		err := h.WaitEnded()
		if e, ok := errors.AsType[*pipeline.DeliveryError](err); !ok || !errors.Is(e, producer.ErrClosed) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestUserHooksAreChained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		note := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, s)
		}
		cfg := quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper)})
		cfg.Consumer.Hooks = consumer.Hooks{
			Assigned: func(_ context.Context, _ consumer.Membership, added []*consumer.Assignment) {
				if len(added) > 0 {
					note("assigned")
				}
			},
			Revoking: func(context.Context, []*consumer.Assignment) { note("revoking") },
		}
		h := pipelinetest.New(t, cfg)
		h.Wait("an assignment", func() bool { return len(h.State().Consumer.Partitions) == 3 })
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(seen, " "); got != "assigned revoking" {
			t.Errorf("hooks: %s", got)
		}
	})
}

func TestMiddlewareOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		mark := func(name string) func(pipeline.Handler) pipeline.Handler {
			return func(next pipeline.Handler) pipeline.Handler {
				return pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
					note := func(s string) {
						mu.Lock()
						defer mu.Unlock()
						seen = append(seen, s)
					}
					note(name + "(")
					type key string
					outputs, err := next.Handle(context.WithValue(ctx, key(name), true), in)
					if err != nil {
						name := name + "!"
						note(name)
					}
					note(")")
					return outputs, err
				})
			}
		}
		calls := 0
		cfg := quiet(pipeline.Config{Concurrency: 1, MaxAttempts: 2, DeadLetter: pipeline.DeadLetter{Topic: "dead"}, HandlerTimeout: time.Second})
		cfg.Middleware.AroundInput = []func(pipeline.Handler) pipeline.Handler{mark("I"), mark("J")}
		cfg.Middleware.AroundAttempt = []func(pipeline.Handler) pipeline.Handler{mark("A"), mark("B")}
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, _ *consumer.Message) ([]producer.Record, error) {
			if calls++; calls == 1 {
				<-ctx.Done() // the watchdog reaches through the middlewares' contexts
				return nil, ctx.Err()
			}
			panic("p")
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("dead", 1))
		h.Feed(pipelinetest.Record("k", "v"))
		h.WaitDone(1)
		mu.Lock()
		defer mu.Unlock()
		// The panic passes through the attempt's middlewares; recover is outside of them.
		if got, want := strings.Join(seen, ""), "I(J(A(B(B!)A!)A(B(J!)I!)"; got != want {
			t.Errorf("order %s, want %s", got, want)
		}
		if got := header(h.Outputs("dead")[0], pipeline.HeaderAttempts); got != "2" {
			t.Errorf("attempts %s", got)
		}
	})
}
