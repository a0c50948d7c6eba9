package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
)

func records(n int) (list []*kgo.Record) {
	for i := range n {
		list = append(list, pipelinetest.Record("k", fmt.Sprint(i)))
	}
	return list
}

// A round of a batch is one step of the backoff, however many inputs failed in it; and the log says
// why.
func TestBatchBackoff(t *testing.T) {
	for _, n := range []int{1, 3, 8} {
		synctest.Test(t, func(t *testing.T) {
			var log logged
			var starts []time.Duration
			var begun time.Time
			cfg := pipeline.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Concurrency: 1, Backoff: pipeline.Backoff{Jitter: -1},
				DeadLetter: pipeline.DeadLetter{Topic: "dead"}}
			cfg.BatchHandler = pipeline.BatchHandlerFunc(func(_ context.Context, in []*consumer.Message) []pipeline.Result {
				if len(starts) == 0 {
					begun = time.Now()
				}
				starts = append(starts, time.Since(begun))
				results := make([]pipeline.Result, len(in))
				for i := range results {
					results[i].Err = errBroken
				}
				return results
			})
			h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Manual())
			h.Feed(records(n)...)
			h.Start()
			h.WaitDone(n)
			want := "[0s 100ms 300ms 700ms 1.5s]"
			if got := fmt.Sprint(starts); got != want {
				t.Errorf("%d inputs: calls at %s, want %s", n, got, want)
			}
			if log.count("err=broken") == 0 || log.count("err=<nil>") > 0 {
				t.Errorf("the log says\n%s", &log.buf)
			}
		})
	}
}

// MaxAttempts counts the calls that an input was in, also those that failed as a whole. Each is
// tried alone once, whatever it counts.
func TestBatchAttemptsWithPanics(t *testing.T) {
	for _, test := range []struct{ most, errors, calls int }{
		{5, 0, 5}, // the call of all, four alone
		{5, 2, 5}, // two rounds of errors, one panic of all, two alone
		{2, 0, 2},
		{1, 0, 2}, // or its neighbours would be given up unheard
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := map[string]int{}
			rounds := 0
			cfg := quiet(pipeline.Config{Concurrency: 1, MaxAttempts: test.most, DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
			cfg.BatchHandler = pipeline.BatchHandlerFunc(func(_ context.Context, in []*consumer.Message) []pipeline.Result {
				rounds++
				results := make([]pipeline.Result, len(in))
				panics := false
				for i, m := range in {
					calls[string(m.Value)]++
					if rounds <= test.errors {
						results[i].Err = errBroken
						continue
					}
					panics = panics || string(m.Value) == "2"
				}
				if panics {
					panic("poison")
				}
				return results
			})
			h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Manual())
			h.Feed(records(5)...)
			h.Start()
			h.WaitDone(5)
			letters := h.Outputs("dead")
			if calls["2"] != test.calls || len(letters) != 1 || header(letters[0], pipeline.HeaderAttempts) != fmt.Sprint(test.calls) {
				t.Errorf("%+v: the poison input was in %d calls, letters %d", test, calls["2"], len(letters))
			}
		})
	}
}

// A handler that always panics with several, after it once returned errors for them, must come to
// an end.
func TestBatchPanicsAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		cfg := quiet(pipeline.Config{Concurrency: 1, DeadLetter: pipeline.DeadLetter{Topic: "dead"}})
		cfg.BatchHandler = pipeline.BatchHandlerFunc(func(_ context.Context, in []*consumer.Message) []pipeline.Result {
			if !first && len(in) > 1 {
				panic("two are too many")
			}
			results := make([]pipeline.Result, len(in))
			for i := range results {
				if first {
					results[i].Err = errBroken
				} else {
					results[i] = out(in[i])
				}
			}
			first = false
			return results
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		h.Feed(records(2)...)
		h.Start()
		h.WaitDone(2)
		if got := strings.Join(values(h, "out"), " "); got != "0 1" {
			t.Errorf("outputs %s", got)
		}
	})
}

// Fatal stops the pipeline, also from behind an input that will not be done.
func TestBatchFatalBehindARejectedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{one: func(_ int, in *consumer.Message) pipeline.Result {
			switch string(in.Value) {
			case "0":
				return pipeline.Result{Err: pipeline.Reject(errBroken)}
			case "1":
				return pipeline.Result{Err: pipeline.Fatal(errBroken)}
			}
			return out(in)
		}}
		h := pipelinetest.New(t, quiet(pipeline.Config{BatchHandler: b, Concurrency: 1}), pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		h.Feed(records(3)...)
		h.Start()
		if err := h.WaitEnded(); !strings.Contains(fmt.Sprint(err), "stopped at topic in partition 0 offset 1") {
			t.Errorf("Run returned %v", err)
		}
		if n := len(h.Outputs("out")); n != 0 {
			t.Errorf("%d outputs", n)
		}
	})
}

// sizes records how large the batches are; each call takes its time.
type sizes struct {
	list []int
	took time.Duration
}

func (s *sizes) HandleBatch(_ context.Context, in []*consumer.Message) []pipeline.Result {
	s.list = append(s.list, len(in))
	time.Sleep(s.took)
	return make([]pipeline.Result, len(in))
}

// Batches are full while inputs wait, in every order, also with slow handlers and when the inputs
// of several partitions wait in turns.
func TestBatchesAreFull(t *testing.T) {
	for _, order := range []pipeline.Order{pipeline.Unordered, pipeline.PerKey, pipeline.PerPartition} {
		t.Run(order.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sizes{took: 50 * time.Millisecond}
				gate := make(chan struct{})
				cfg := quiet(pipeline.Config{Order: order, MaxBatch: 500, Concurrency: 1})
				cfg.BatchHandler = pipeline.BatchHandlerFunc(func(ctx context.Context, in []*consumer.Message) []pipeline.Result {
					<-gate
					return s.HandleBatch(ctx, in)
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 2))
				for range 20 { // many small fetches of both partitions in turns, behind the first batch
					h.FeedTo(0, records(50)...)
					h.FeedTo(1, records(50)...)
				}
				h.Wait("everything to be fetched", func() bool { return h.State().Queued > 1000 })
				time.Sleep(5 * time.Second)
				close(gate)
				h.WaitDone(2000)
				full := 0
				for _, n := range s.list {
					if n == 500 {
						full++
					}
				}
				if full < 2 || len(s.list) > 6 {
					t.Errorf("batches of %v", s.list)
				}
			})
		})
	}
}

// BatchWait fills a batch with what trickles in, and hands it out in time when that is not enough.
func TestBatchWait(t *testing.T) {
	for _, order := range []pipeline.Order{pipeline.Unordered, pipeline.PerKey, pipeline.PerPartition} {
		t.Run(order.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sizes{}
				var at []time.Time
				cfg := quiet(pipeline.Config{Order: order, MaxBatch: 10, BatchWait: 2 * time.Second, Concurrency: 1})
				cfg.BatchHandler = pipeline.BatchHandlerFunc(func(ctx context.Context, in []*consumer.Message) []pipeline.Result {
					at = append(at, time.Now())
					return s.HandleBatch(ctx, in)
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
				time.Sleep(time.Second)
				fed := time.Now()
				for range 10 {
					h.Feed(records(1)...)
					time.Sleep(100 * time.Millisecond)
				}
				h.WaitDone(10)
				if took := at[0].Sub(fed); fmt.Sprint(s.list) != "[10]" || took > 1900*time.Millisecond {
					t.Errorf("batches of %v, the first after %s", s.list, took)
				}
				fed = time.Now()
				h.Feed(records(3)...)
				h.WaitDone(13)
				if took := at[1].Sub(fed); fmt.Sprint(s.list) != "[10 3]" || took < 1900*time.Millisecond || took > 2600*time.Millisecond {
					t.Errorf("batches of %v, the second after %s", s.list, took)
				}
				h.Feed(records(3)...) // does not wait at the end
				time.Sleep(500 * time.Millisecond)
				stopped := time.Now()
				if err := h.Stop(); err != nil || time.Since(stopped) > time.Second {
					t.Errorf("Run returned %v after %s", err, time.Since(stopped))
				}
			})
		})
	}
}
