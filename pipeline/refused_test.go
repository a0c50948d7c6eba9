package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// refused checks that the pipeline has ended by itself because its producer was refused, and says
// why.
func refused(t *testing.T, h *pipelinetest.Harness, code string, says []string) {
	t.Helper()
	err := h.WaitEnded()
	if _, ok := errors.AsType[*pipeline.DeliveryError](err); !ok {
		t.Fatalf("Run returned %v", err)
	}
	if e, ok := errors.AsType[*producer.Error](err); !ok || e.Code != code || e.Retryable {
		t.Errorf("Run returned %v, want %s", err, code)
	}
	check := h.Pipeline().Check(t.Context())
	for _, text := range append(says, `app "test"`) {
		if !strings.Contains(err.Error(), text) || check == nil || !strings.Contains(check.Error(), text) {
			t.Errorf("it does not say %s: Run %v, Check %v", text, err, check)
		}
	}
}

// What the sidecar's lists refuse ends the app at its start, without an input, by an error that
// says what to change. It does not keep its partitions.
func TestRefusedAtTheStart(t *testing.T) {
	for name, c := range map[string]struct {
		app     sidecar.App
		outputs []string
		letters string
		code    string
		says    []string
	}{
		"token":                {sidecar.App{Token: "right"}, nil, "", producer.CodeUnauthorized, []string{"wrong token", "DialConfig.App and Token"}},
		"group":                {sidecar.App{Groups: []string{"others"}}, nil, "", producer.CodeUnauthorized, []string{"GROUP_NOT_ALLOWED", "the app's groups"}},
		"announced output":     {sidecar.App{Topics: []string{"out"}}, []string{"missing", "out", "secret"}, "", "TOPIC_NOT_ALLOWED", []string{"Config.Outputs", `"secret"`, "the app's topics"}},
		"dead letters":         {sidecar.App{Topics: []string{"out"}}, nil, "secret", "TOPIC_NOT_ALLOWED", []string{"Config.DeadLetter.Topic", `"secret"`, "the app's topics"}},
		"one output in twenty": {sidecar.App{Topics: []string{"out"}}, append(make20("out"), "secret"), "", "TOPIC_NOT_ALLOWED", []string{`"secret"`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pod{t: t}
				cfg := quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), Outputs: c.outputs, DeadLetter: pipeline.DeadLetter{Topic: c.letters}})
				cfg.Producer = producer.DialConfig{Target: "pod", App: "test", Token: "wrong", Dialer: p.dial, Logger: cfg.Logger}.New()
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Topic("secret", 1), pipelinetest.Manual())
				c.app.Name = "test"
				p.start(h.Options()[1:], c.app)
				begun := time.Now()
				h.Start()
				refused(t, h, c.code, c.says)
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("it took %v", took)
				}
				p.stop()
			})
		})
	}
}

func make20(name string) (list []string) {
	for range 20 {
		list = append(list, name)
	}
	return list
}

// A sidecar that comes back with other lists ends an app that runs. It does not wait for handlers:
// nobody would take what they make.
func TestRefusedWhileAHandlerRuns(t *testing.T) {
	for _, batch := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := &pod{t: t}
			var cause error
			wait := func(ctx context.Context) error {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return cause
			}
			cfg := quiet(pipeline.Config{Concurrency: 1, Handler: pipeline.HandlerFunc(func(ctx context.Context, _ *consumer.Message) ([]producer.Record, error) {
				return nil, wait(ctx)
			})})
			if batch {
				cfg.Handler, cfg.BatchHandler = nil, pipeline.BatchHandlerFunc(func(ctx context.Context, in []*consumer.Message) []pipeline.Result {
					_ = wait(ctx)
					return make([]pipeline.Result, len(in))
				})
			}
			cfg.Producer = producer.DialConfig{Target: "pod", App: "test", Token: "good", Dialer: p.dial, Logger: slog.New(slog.DiscardHandler)}.New()
			h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Manual())
			p.start(h.Options()[1:], sidecar.App{Name: "test", Token: "good"})
			h.Start()
			h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"))
			h.Wait("a handler that runs", func() bool { return h.State().Busy == 1 })
			p.stop()
			time.Sleep(3 * time.Second) // a sidecar that is away is no refusal
			if s := h.State(); s.Stopping != nil || s.Busy != 1 {
				t.Fatalf("it stops without a sidecar: %+v", s)
			}
			p.start(h.Options()[1:], sidecar.App{Name: "test", Token: "renewed"})
			begun := time.Now()
			refused(t, h, producer.CodeUnauthorized, []string{"wrong token"})
			if took := time.Since(begun); took > 3*time.Second || !errors.Is(cause, consumer.ErrShutdown) {
				t.Errorf("it took %v, the handler's context ended with %v", took, cause)
			}
			p.stop()
		})
	}
}
