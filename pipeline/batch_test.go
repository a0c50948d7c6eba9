package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// batches records what a batch handler was called with.
type batches struct {
	mu    sync.Mutex
	calls []string
	one   func(call int, in *consumer.Message) pipeline.Result
}

func (b *batches) HandleBatch(_ context.Context, in []*consumer.Message) []pipeline.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for _, m := range in {
		names = append(names, string(m.Value))
	}
	b.calls = append(b.calls, strings.Join(names, ""))
	results := make([]pipeline.Result, len(in))
	for i, m := range in {
		results[i] = b.one(len(b.calls), m)
	}
	return results
}

func out(in *consumer.Message) pipeline.Result {
	return pipeline.Result{Outputs: []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}}
}

func TestBatchOutcomes(t *testing.T) {
	for name, test := range map[string]struct {
		one     func(call int, in *consumer.Message) pipeline.Result
		calls   []string
		outputs string
		dead    string
		order   pipeline.Order
	}{
		"all well": {
			one:   func(_ int, in *consumer.Message) pipeline.Result { return out(in) },
			calls: []string{"abcd", "ef"}, outputs: "abcdef",
		},
		"one is retried, the successes are not": {
			one: func(call int, in *consumer.Message) pipeline.Result {
				if call <= 2 && string(in.Value) == "b" {
					return pipeline.Result{Err: errBroken}
				}
				return out(in)
			},
			calls: []string{"abcd", "b", "b", "ef"}, outputs: "abcdef",
		},
		"unordered successes do not wait": {
			one: func(call int, in *consumer.Message) pipeline.Result {
				if call <= 2 && string(in.Value) == "b" {
					return pipeline.Result{Err: errBroken}
				}
				return out(in)
			},
			order: pipeline.Unordered,
			calls: []string{"abcd", "b", "b", "ef"}, outputs: "acdbef",
		},
		"attempts spent, rejected, filtered": {
			one: func(_ int, in *consumer.Message) pipeline.Result {
				switch string(in.Value) {
				case "b":
					return pipeline.Result{Err: errBroken}
				case "c":
					return pipeline.Result{Err: pipeline.Reject(errBroken)}
				case "d":
					return pipeline.Result{}
				}
				return out(in)
			},
			calls: []string{"abcd", "b", "b", "ef"}, outputs: "aef", dead: "bc",
		},
		"a panic takes nobody along": {
			one: func(_ int, in *consumer.Message) pipeline.Result {
				if string(in.Value) == "b" {
					panic("poison")
				}
				return out(in)
			},
			calls: []string{"abcd", "a", "b", "b", "c", "d", "ef"}, outputs: "acdef", dead: "b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &batches{one: test.one}
				h := pipelinetest.New(t, quiet(pipeline.Config{BatchHandler: b, MaxBatch: 4, Concurrency: 1, MaxAttempts: 3, Order: test.order,
					DeadLetter: pipeline.DeadLetter{Topic: "dead"}}),
					pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Topic("dead", 1), pipelinetest.Manual())
				h.Feed(strings2records(strings.Split("abcdef", ""))...)
				h.Start()
				h.WaitCommitted("in", 0, 6)
				// Unordered, it takes what suits it.
				if test.order != pipeline.Unordered && !slices.Equal(b.calls, test.calls) {
					t.Errorf("calls %v, want %v", b.calls, test.calls)
				}
				got := strings.Join(values(h, "out"), "")
				if test.order == pipeline.Unordered {
					got, test.outputs = sorted(got), sorted(test.outputs)
				}
				if got != test.outputs {
					t.Errorf("outputs %q, want %q", got, test.outputs)
				}
				if got := strings.Join(values(h, "dead"), ""); got != test.dead {
					t.Errorf("dead letters %q, want %q", got, test.dead)
				}
			})
		})
	}
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}

func TestBatchWithTheWrongNumberOfResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{Concurrency: 1, DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
		cfg.BatchHandler = pipeline.BatchHandlerFunc(func(_ context.Context, in []*consumer.Message) []pipeline.Result {
			return make([]pipeline.Result, len(in)-1)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Manual())
		h.Feed(strings2records([]string{"a", "b", "c"})...)
		h.Start()
		err := h.WaitEnded()
		if e, ok := errors.AsType[*pipeline.ResultCountError](err); !ok || e.Inputs != 3 || e.Results != 2 {
			t.Errorf("Run returned %v", err)
		}
		if got := h.Committed("in", 0); got > 0 {
			t.Errorf("committed %d", got)
		}
		if n := len(h.Outputs("dead")); n != 0 {
			t.Errorf("%d dead letters", n)
		}
	})
}

func TestBatchTimeoutTriesEachAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{Concurrency: 1, HandlerTimeout: time.Second, MaxAttempts: 1, DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
		cfg.BatchHandler = pipeline.BatchHandlerFunc(func(ctx context.Context, in []*consumer.Message) []pipeline.Result {
			results := make([]pipeline.Result, len(in))
			for i, m := range in {
				if string(m.Value) == "b" {
					<-ctx.Done()
				}
				results[i] = out(m)
			}
			return results
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Topic("dead", 1), pipelinetest.Manual())
		h.Feed(strings2records([]string{"a", "b", "c"})...)
		h.Start()
		h.WaitCommitted("in", 0, 3)
		if got := strings.Join(values(h, "out"), ""); got != "ac" {
			t.Errorf("outputs %q", got)
		}
		if letters := h.Outputs("dead"); len(letters) != 1 || !strings.Contains(header(letters[0], pipeline.HeaderError), "HandlerTimeout") {
			t.Errorf("dead letters %v", letters)
		}
	})
}

// TestBatchNothingOvertakes: successes behind an input that halts its partition, or stops the
// pipeline, are given back.
func TestBatchNothingOvertakes(t *testing.T) {
	for name, verdict := range map[string]error{"rejected": pipeline.Reject(errBroken), "fatal": pipeline.Fatal(errBroken)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &batches{one: func(_ int, in *consumer.Message) pipeline.Result {
					if string(in.Value) == "b" {
						return pipeline.Result{Err: verdict}
					}
					return out(in)
				}}
				h := pipelinetest.New(t, quiet(pipeline.Config{BatchHandler: b, Concurrency: 1}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1),
					pipelinetest.Manual())
				h.Feed(strings2records(strings.Split("abcdef", ""))...)
				h.Start()
				if name == "fatal" {
					if err := h.WaitEnded(); !errors.Is(err, errBroken) {
						t.Errorf("Run returned %v", err)
					}
				} else if why := h.WaitHalted(); !errors.Is(why, errBroken) {
					t.Errorf("halted by %v", why)
				} else if err := h.Stop(); !errors.Is(err, errBroken) {
					t.Errorf("Run returned %v", err)
				}
				if got := strings.Join(values(h, "out"), ""); got != "a" || h.Committed("in", 0) != 1 {
					t.Errorf("outputs %q, committed %d", got, h.Committed("in", 0))
				}
			})
		})
	}
}
