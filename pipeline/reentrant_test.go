package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// asking is an error whose every method asks the pipeline where it stands.
type asking struct{ ask func() }

func (e asking) Error() string {
	e.ask()
	return "asked"
}

func (e asking) Is(error) bool {
	e.ask()
	return false
}

func (e asking) As(any) bool {
	e.ask()
	return false
}

func (e asking) Unwrap() error {
	e.ask()
	return nil
}

// An error of the user, and the user's Logger, may call State wherever they are asked: none of our
// locks is held then. Under one, the lane, or Run, would stand still for ever; the bubble says so.
func TestErrorsAndLoggersMayCallState(t *testing.T) {
	for name, mark := range map[string]func(error) error{
		"plain":  func(err error) error { return err },
		"reject": pipeline.Reject,
		"fatal":  pipeline.Fatal,
		"panic":  func(err error) error { panic(err) },
	} {
		for _, letters := range []string{"", "dead"} {
			t.Run(name+letters, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var asked atomic.Pointer[pipelinetest.Harness]
					ask := func() {
						if h := asked.Load(); h != nil {
							_ = h.State()
						}
					}
					cfg := pipeline.Config{MaxAttempts: 2, DeadLetter: pipeline.DeadLetter{Topic: letters, Spring: letters != ""}}
					cfg.Logger = slog.New(askingHandler{slog.DiscardHandler, ask})
					cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
						return nil, mark(asking{ask})
					})
					topics := []pipelinetest.Option{pipelinetest.Topic("in", 1)}
					if letters != "" {
						topics = append(topics, pipelinetest.Topic(letters, 1))
					}
					h := pipelinetest.New(t, cfg, topics...)
					asked.Store(h)
					h.Feed(pipelinetest.Record("k", "a"))
					switch {
					case name == "fatal":
						if err := h.WaitEnded(); err == nil {
							t.Error("it did not stop")
						}
					case letters == "":
						_ = h.WaitHalted()
						_ = h.Stop()
					default:
						h.WaitDone(1)
					}
				})
			})
		}
	}
}

// askingHandler is a slog.Handler that asks before each line.
type askingHandler struct {
	slog.Handler
	ask func()
}

func (a askingHandler) Enabled(context.Context, slog.Level) bool {
	a.ask()
	return true
}

func (a askingHandler) WithAttrs([]slog.Attr) slog.Handler { return a }
func (a askingHandler) WithGroup(string) slog.Handler      { return a }

func TestLoggerMayCallStateOfALateHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Pointer[pipelinetest.Harness]
		ask := func() {
			if h := asked.Load(); h != nil {
				_ = h.State()
			}
		}
		cfg := pipeline.Config{HandlerTimeout: time.Second, Logger: slog.New(askingHandler{slog.DiscardHandler, ask})}
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, _ *consumer.Message) ([]producer.Record, error) {
			<-ctx.Done()
			return nil, pipeline.Reject(errBroken)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		asked.Store(h)
		h.Feed(pipelinetest.Record("k", "a"))
		if e := h.WaitHalted(); !errors.Is(e, pipeline.ErrHandlerTimeout) {
			t.Errorf("halted by %v", e)
		}
	})
}

// brokenError is the error of a nil pointer that is no nil error: the oldest trap of Go.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

// It is a failure like others. Its input must not end the process each time it is read.
func TestErrorOfANilPointer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{MaxAttempts: 2, DeadLetter: pipeline.DeadLetter{Topic: "dead", Spring: true}})
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			var none *brokenError
			return nil, none
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("dead", 1))
		h.Feed(pipelinetest.Record("k", "a"))
		h.WaitDone(1)
		if got := len(h.Outputs("dead")); got != 1 {
			t.Errorf("%d letters", got)
		}
	})
}
