package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

var errBroken = errors.New("broken")

// noise cannot be compressed: what is too large for a topic by its size alone may fit.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// TestOutcomes feeds one input between two healthy neighbours of the same partition.
func TestOutcomes(t *testing.T) {
	fails := func(err error, times int) func(int) ([]producer.Record, error) {
		return func(call int) ([]producer.Record, error) {
			if call <= times {
				return nil, err
			}
			return []producer.Record{{Topic: "out", Value: []byte("B")}}, nil
		}
	}
	for name, test := range map[string]struct {
		handle  func(call int) ([]producer.Record, error)
		outputs string // of "out", joined
		calls   int32
		dead    string // part of the dead letter's error
		took    time.Duration
	}{
		"outputs":        {handle: fails(nil, 0), outputs: "A B C", calls: 1},
		"filtered":       {handle: func(int) ([]producer.Record, error) { return nil, nil }, outputs: "A C", calls: 1},
		"retried":        {handle: fails(errBroken, 2), outputs: "A B C", calls: 3, took: 200 * time.Millisecond},
		"attempts spent": {handle: fails(errBroken, 99), outputs: "A C", calls: 5, dead: "broken", took: time.Second},
		"rejected":       {handle: fails(pipeline.Reject(errBroken), 99), outputs: "A C", calls: 1, dead: "broken"},
		"wrapped reject": {handle: fails(fmt.Errorf("decoding: %w", pipeline.Reject(errBroken)), 99), outputs: "A C", calls: 1, dead: "decoding: broken"},
		"retry after":    {handle: fails(pipeline.Retry(errBroken, 10*time.Second), 8), outputs: "A B C", calls: 9, took: 80 * time.Second},
		"panic":          {handle: func(int) ([]producer.Record, error) { panic("ouch") }, outputs: "A C", calls: 5, dead: "ouch", took: time.Second},
		"own timeout":    {handle: fails(context.DeadlineExceeded, 1), outputs: "A B C", calls: 2},
		"own cancel":     {handle: fails(context.Canceled, 99), outputs: "A C", calls: 5, dead: "canceled"},
		"no topic": {handle: func(int) ([]producer.Record, error) {
			return []producer.Record{{Topic: "out", Value: []byte("x")}, {Value: []byte("y")}}, nil
		}, outputs: "A C", calls: 1, dead: "output 1 of 2"},
		"fan-out": {handle: func(int) ([]producer.Record, error) {
			return []producer.Record{{Topic: "out", Value: []byte("B1")}, {Topic: "out", Value: []byte("B2")}}, nil
		}, outputs: "A B1 B2 C", calls: 1},
		"unknown topic": {handle: func(int) ([]producer.Record, error) {
			return []producer.Record{{Topic: "nowhere", Value: []byte("x")}}, nil
		}, outputs: "A C", calls: 1, dead: "UNKNOWN_TOPIC_OR_PARTITION"},
		"too large": {handle: func(int) ([]producer.Record, error) {
			return []producer.Record{{Topic: "out", Value: noise(3 << 20)}}, nil
		}, outputs: "A C", calls: 1, dead: "MESSAGE_TOO_LARGE"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				cfg := quiet(pipeline.Config{DeadLetter: pipeline.DeadLetter{Topic: "dead"}, Backoff: pipeline.Backoff{Jitter: -1}, Concurrency: 2})
				cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
					if string(in.Value) != "b" {
						return upper(ctx, in)
					}
					return test.handle(int(calls.Add(1)))
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Topic("dead", 1),
					pipelinetest.Timeout(5*time.Minute))
				begun := time.Now()
				h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"), pipelinetest.Record("k", "c"))
				h.Wait("all to be done", func() bool { return h.State().Done == 3 })
				if took := time.Since(begun); took < test.took {
					t.Errorf("took %s, want at least %s", took, test.took)
				}
				if calls.Load() != test.calls {
					t.Errorf("%d calls, want %d", calls.Load(), test.calls)
				}
				if got := strings.Join(values(h, "out"), " "); got != test.outputs {
					t.Errorf("outputs %q, want %q", got, test.outputs)
				}
				letters := h.Outputs("dead")
				switch {
				case test.dead == "" && len(letters) != 0:
					t.Errorf("%d dead letters", len(letters))
				case test.dead != "" && len(letters) != 1:
					t.Errorf("%d dead letters, want 1", len(letters))
				case test.dead != "" && !strings.Contains(header(letters[0], pipeline.HeaderError), test.dead):
					t.Errorf("the dead letter says %q, want %q", header(letters[0], pipeline.HeaderError), test.dead)
				}
				h.WaitCommitted("in", 0, 3)
				if err := h.Stop(); err != nil {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

func header(r *kgo.Record, key string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

func TestDeadLetterCarriesTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{DeadLetter: pipeline.DeadLetter{Topic: "dead"}, MaxAttempts: 2})
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) { panic(errBroken) })
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 2))
		in := &kgo.Record{Key: []byte{0, 1, 255}, Value: []byte("\x00value"), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte{9}}, {Key: "trace", Value: nil}}}
		h.Feed(in)
		h.WaitDone(1)
		got := h.Outputs("dead")[0]
		if !bytes.Equal(got.Key, in.Key) || !bytes.Equal(got.Value, in.Value) {
			t.Errorf("key %q value %q", got.Key, got.Value)
		}
		if got.Headers[0].Key != "trace" || !bytes.Equal(got.Headers[0].Value, []byte{9}) || got.Headers[1].Value != nil {
			t.Errorf("the input's headers are %v", got.Headers[:2])
		}
		for key, want := range map[string]string{
			pipeline.HeaderTopic: "in", pipeline.HeaderPartition: fmt.Sprint(in.Partition), pipeline.HeaderOffset: "0", pipeline.HeaderAttempts: "2",
			pipeline.HeaderGroup: pipelinetest.DefaultGroup, pipeline.HeaderError: "pipeline: the handler panicked: broken",
			pipeline.HeaderTimestamp: in.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		} {
			if have := header(got, key); have != want {
				t.Errorf("%s is %q, want %q", key, have, want)
			}
		}
		if stack := header(got, pipeline.HeaderStack); !strings.Contains(stack, "outcome_test.go") {
			t.Errorf("the stack does not name this file:\n%s", stack)
		}
	})
}

func TestRejectedWithoutDeadLetterTopicHalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		halted := make(chan *consumer.HaltError, 1)
		cfg := quiet(pipeline.Config{Consumer: consumer.Config{OnHalt: func(e *consumer.HaltError) { halted <- e }}, Concurrency: 1})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "b" {
				return nil, pipeline.Reject(errBroken)
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"), pipelinetest.Record("k", "c"))
		why := <-halted
		if r, ok := errors.AsType[*pipeline.RejectedError](why); !ok || r.Input.Offset != 1 || r.Attempts != 1 || !errors.Is(why, errBroken) {
			t.Errorf("halted by %v", why)
		}
		if why.Offset != 1 || !strings.Contains(why.Error(), "DeadLetter.Topic") {
			t.Errorf("halted by %v", why)
		}
		h.WaitCommitted("in", 0, 1)
		if err := h.Pipeline().Check(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("Check says %v", err)
		}
		if err := h.Stop(); !errors.Is(err, why) {
			t.Errorf("Run returned %v, which does not say that a partition stands still", err)
		}
		if got := h.Committed("in", 0); got != 1 {
			t.Errorf("committed %d, want 1: the rejected input is not done", got)
		}
		if got := strings.Join(values(h, "out"), ""); got != "A" {
			t.Errorf("outputs %q: what is behind a rejected input of its key must not overtake it", got)
		}
	})
}

func TestDeadLetterThatFailsHalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			return nil, pipeline.Reject(errBroken)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		h.FailProduce("dead", kerr.MessageTooLarge, -1)
		h.Feed(pipelinetest.Record("k", "a"))
		why := h.WaitHalted()
		if r, ok := errors.AsType[*pipeline.RejectedError](why); !ok || r.DeadLetter == nil || !errors.Is(why, errBroken) || !errors.Is(why, kerr.MessageTooLarge) {
			t.Errorf("halted by %v", why)
		}
		if got := h.Committed("in", 0); got > 0 {
			t.Errorf("committed %d", got)
		}
	})
}

func TestDeadLetterIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})
		defer fake.Close()
		cfg := quiet(pipeline.Config{DeadLetter: pipeline.DeadLetter{Topic: "dead"}, Producer: fake, KeepProducer: true})
		cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			return nil, pipeline.Reject(errBroken)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		h.Feed(pipelinetest.Record("k", "a"))
		if err := fake.WaitUnits(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // virtual: many commit intervals
		if s := h.State(); s.Done != 0 || h.Committed("in", 0) > 0 {
			t.Errorf("done %d, committed %d before the dead letter was acknowledged", s.Done, h.Committed("in", 0))
		}
		u := fake.Units()[0]
		if u.Source.Offset != 0 || u.Source.Epoch == 0 || u.Outputs[0].Topic != "dead" {
			t.Errorf("delivered %+v", u)
		}
		fake.AckAll()
		h.WaitCommitted("in", 0, 1)
		if s := h.State(); s.DeadLetters != 1 || s.Rejected != 1 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestFatalStopsThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{DeadLetter: pipeline.DeadLetter{Topic: "dead"}, Concurrency: 1})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "b" {
				return nil, fmt.Errorf("loading: %w", pipeline.Fatal(errBroken))
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		begun := time.Now()
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"), pipelinetest.Record("k", "c"))
		err := h.WaitEnded()
		if f, ok := errors.AsType[*pipeline.FatalError](err); !ok || f.Input.Offset != 1 || !errors.Is(err, errBroken) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("it took %s: the drain must not wait for the input that stopped it", took)
		}
		if got := h.Committed("in", 0); got != 1 {
			t.Errorf("committed %d, want 1", got)
		}
		if n := len(h.Outputs("dead")); n != 0 {
			t.Errorf("%d dead letters", n)
		}
		if got := strings.Join(values(h, "out"), ""); got != "A" {
			t.Errorf("outputs %q: what is behind the input that stopped the pipeline must not overtake it", got)
		}
	})
}

func TestNoRightToWriteStopsThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper), DeadLetter: pipeline.DeadLetter{Topic: "dead"}}),
			pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.FailProduce("out", kerr.TopicAuthorizationFailed, -1)
		h.Feed(pipelinetest.Record("k", "a"))
		err := h.WaitEnded()
		if !errors.Is(err, kerr.TopicAuthorizationFailed) || !strings.Contains(fmt.Sprint(err), "WRITE") {
			t.Errorf("Run returned %v", err)
		}
		if n := len(h.Outputs("dead")); n != 0 || h.Committed("in", 0) > 0 {
			t.Errorf("%d dead letters, committed %d", n, h.Committed("in", 0))
		}
	})
}
