package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// What became of inputs, how long their handlers took and why some were rejected is told as it
// happened, and the consumer of the pipeline tells its part by the same provider.
func TestMetricsOfAPipeline(t *testing.T) {
	for _, batches := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			meter := measured.New()
			cfg := pipeline.Config{MeterProvider: meter, Concurrency: 2, MaxAttempts: 2, DeadLetter: pipeline.DeadLetter{Topic: "dead"}}
			handle := func(in *consumer.Message) ([]producer.Record, error) {
				switch string(in.Value) {
				case "bad":
					return nil, pipeline.Reject(errors.New("no such customer"))
				case "panics":
					panic("oh")
				}
				time.Sleep(time.Millisecond)
				return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
			}
			if batches {
				cfg.BatchHandler = pipeline.BatchHandlerFunc(func(_ context.Context, in []*consumer.Message) []pipeline.Result {
					results := make([]pipeline.Result, len(in))
					for i, m := range in {
						results[i].Outputs, results[i].Err = handle(m)
					}
					return results
				})
			} else {
				cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) { return handle(in) })
			}
			h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Topic("dead", 1))
			for range 20 {
				h.Feed(pipelinetest.Record("k", "good"))
			}
			h.Feed(pipelinetest.Record("k", "bad"), pipelinetest.Record("k", "bad"), pipelinetest.Record("k", "panics"))
			h.WaitCommitted("in", 0, 23)
			v, of := meter.Collect(t), telemetry.Topic.String("in")
			v.Want(t, 20, telemetry.Handled, telemetry.Outcome.String("acknowledged"))
			v.Want(t, 3, telemetry.Handled, telemetry.Outcome.String("dead_letter"))
			v.Want(t, 3, telemetry.Handled, telemetry.Outcome.String("rejected"))
			v.Want(t, 0, telemetry.Repeats, telemetry.Partition.String("0"), telemetry.Reason.String("redelivered"))
			v.Want(t, 2, telemetry.HandlerLetters, of, telemetry.ErrorType.String("*errors.errorString"))
			v.Want(t, 1, telemetry.HandlerLetters, of, telemetry.ErrorType.String("*pipeline.PanicError"))
			if n, _ := v.Sum(telemetry.HandlerRetries, of); n < 1 {
				t.Errorf("%v retries", n)
			}
			v.Want(t, 0, telemetry.HandlerTimeouts)
			v.Want(t, 2, telemetry.Lanes)
			v.Want(t, 0, telemetry.LanesBusy)
			v.Want(t, 0, telemetry.Queued)
			v.Want(t, 0, telemetry.Halted)
			v.Want(t, 0, telemetry.OrderBroken)
			v.Want(t, 0, telemetry.CommitBeyond)
			v.Want(t, 23, telemetry.Done, of) // the consumer's
			if n, _ := v.Sum(telemetry.ProcessTime, of); n < 1 || n > 25 {
				t.Errorf("%v handlers were timed", n)
			}
			if bad := v.Unlisted(); len(bad) > 0 {
				t.Errorf("attributes that no row has: %q", bad)
			}
			letters := int64(0)
			for _, in := range h.Pipeline().Pod().Incidents {
				if in.Kind != podstate.DeadLetter {
					continue
				}
				letters += in.Count
				if in.Topic != "in" || in.Partition != 0 || !strings.Contains(in.Reason, "offset 2") {
					t.Errorf("the incident is %+v", in)
				}
			}
			if letters != 3 {
				t.Errorf("incidents of %d dead letters, want 3: %+v", letters, h.Pipeline().Pod().Incidents)
			}
		})
	}
}

// While a handler runs, its lane is busy, and the input before it waits to be delivered.
func TestWhatALaneHasInHandIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meter := measured.New()
		var during measured.Values
		cfg := pipeline.Config{MeterProvider: meter, Concurrency: 1, Logger: slog.New(slog.DiscardHandler)}
		cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "second" {
				during = meter.Collect(t)
			}
			return []producer.Record{{Topic: "out", Value: in.Value}}, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Manual())
		h.Feed(pipelinetest.Record("k", "first"), pipelinetest.Record("k", "second"))
		h.Start()
		h.WaitCommitted("in", 0, 2)
		for _, row := range []*telemetry.Metric{telemetry.Finished, telemetry.LanesBusy} {
			during.Want(t, 1, row)
			meter.Collect(t).Want(t, 0, row)
		}
	})
}

// An input that is done before anybody acknowledged its outputs is told as a breach.
func TestDoneBeforeItsTimeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meter := measured.New()
		cfg := pipeline.Config{MeterProvider: meter, Concurrency: 1, Logger: slog.New(slog.DiscardHandler)}
		cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			in.Done(nil)                // which is the pipeline's to say
			time.Sleep(3 * time.Second) // the sentinel looks each second
			return []producer.Record{{Topic: "out", Value: in.Value}}, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(pipelinetest.Record("k", "good"))
		time.Sleep(2500 * time.Millisecond)
		v := meter.Collect(t)
		if n, _ := v.Sum(telemetry.CommitBeyond); n != 1 {
			t.Errorf("%v found, want the pipeline's one and none of the consumer", n)
		}
		v.Want(t, 0, telemetry.OrderBroken)
		h.WaitCommitted("in", 0, 1)
	})
}

// collects is an error that has somebody collect while the pipeline counts an acknowledgement: in
// the midst of it, without a lock of the pipeline.
type collects struct{ collect func() }

func (collects) Error() string { return "no such customer" }

func (c collects) As(any) bool {
	if strings.Contains(string(debug.Stack()), "(*flight).Acked") {
		c.collect()
	}
	return false
}

// No counter falls, not even for a moment: Prometheus would take it for a restart, and count all of
// it again. A letter is a letter at once, and never an acknowledged output before.
func TestCountersNeverFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meter, most, looked := measured.New(), 0.0, false
		acknowledged := telemetry.Outcome.String("acknowledged")
		look := collects{func() {
			looked = true
			if n, _ := meter.Collect(t).Sum(telemetry.Handled, acknowledged); n > most {
				most = n
			}
		}}
		cfg := pipeline.Config{MeterProvider: meter, Concurrency: 1, DeadLetter: pipeline.DeadLetter{Topic: "dead"}}
		cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "bad" {
				return nil, pipeline.Reject(look)
			}
			return []producer.Record{{Topic: "out", Key: in.Key, Value: in.Value}}, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1), pipelinetest.Topic("dead", 1))
		h.Feed(pipelinetest.Record("k", "good"), pipelinetest.Record("k", "bad"), pipelinetest.Record("k", "bad"))
		h.WaitCommitted("in", 0, 3)
		v := meter.Collect(t)
		v.Want(t, 1, telemetry.Handled, acknowledged)
		v.Want(t, 2, telemetry.Handled, telemetry.Outcome.String("dead_letter"))
		if most > 1 || !looked {
			t.Errorf("%v were acknowledged for a moment, and 1 in the end", most)
		}
	})
}
