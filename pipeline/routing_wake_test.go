package pipeline_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// What comes while a handler is slow finds a lane that has nothing to do, though nothing waited
// when the handler began and nobody else works.
func TestWhatComesBehindASlowHandlerMoves(t *testing.T) {
	for what, slow := range map[string]func(context.Context) error{
		"slow": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"in backoff": func(context.Context) error { return pipeline.Retry(errors.New("not yet"), time.Hour) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const others = 20
				var handled atomic.Int64
				cfg := quiet(pipeline.Config{Concurrency: 2})
				cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
					if string(in.Key) == "slow" {
						return nil, slow(ctx)
					}
					handled.Add(1)
					return nil, nil
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
				h.Feed(pipelinetest.Record("slow", "0"))
				time.Sleep(time.Second)
				for i := range others {
					h.Feed(pipelinetest.Record("key"+strconv.Itoa(i), "0"))
					time.Sleep(100 * time.Millisecond)
					if n := handled.Load(); n != int64(i+1) {
						t.Fatalf("%d of %d inputs behind the slow one are handled", n, i+1)
					}
				}
			})
		})
	}
}

// The lane in which the most waits may have only one key, with which nobody can help: the next one
// is helped then.
func TestABusyKeyKeepsNoHelpFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const others, busy, takes = 30, 5000, 4 * time.Millisecond
		var handled atomic.Int64
		cfg := quiet(pipeline.Config{Concurrency: 4})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			switch string(in.Key) {
			case "stuck":
				<-ctx.Done()
				return nil, ctx.Err()
			case "busy":
				time.Sleep(takes)
			default:
				handled.Add(1)
			}
			return nil, nil
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Timeout(time.Minute))
		var in []*kgo.Record
		for range busy {
			in = append(in, pipelinetest.Record("busy", "0"))
		}
		h.Feed(append(in, pipelinetest.Record("stuck", "0"))...)
		time.Sleep(time.Second)
		in = nil
		for i := range others {
			in = append(in, pipelinetest.Record("key"+strconv.Itoa(i), "0"))
		}
		h.Feed(in...)
		time.Sleep(2 * time.Second)
		if n := handled.Load(); n != others {
			t.Errorf("%d of %d inputs beside a busy key and a stuck one are handled", n, others)
		}
	})
}

// refuser fails each unit at once, for ever, whatever becomes of its partition.
type refuser struct {
	fickle
	asked, most atomic.Int64
}

func (f *refuser) Deliver(_ context.Context, units []producer.Unit, r producer.Reporter) error {
	if f.asked.Add(1) > f.most.Load() { // or a test that fails would never end
		r.Acked(0, len(units))
		return nil
	}
	for i := range units {
		r.Failed(i, errDraining)
	}
	return nil
}

// A producer that refuses at once, each time, does not keep a pipeline from its end: what belongs
// to a partition that has left is not delivered again.
func TestRefusalsWithoutEndEndWithThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &refuser{}
		f.most.Store(1000)
		cfg := quiet(pipeline.Config{Concurrency: 2, Producer: f, Consumer: consumer.Config{DrainTimeout: 3 * time.Second}})
		cfg.Handler = pipeline.HandlerFunc(upper)
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		feedKeys(h, 8, 2)
		time.Sleep(10 * time.Second)
		begun := time.Now()
		err := h.Stop()
		if abandoned, ok := errors.AsType[*consumer.AbandonedError](err); !ok {
			t.Errorf("Stop returned %v (%v)", err, abandoned)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("the end took %v", took)
		}
		if n := f.asked.Load(); n >= 1000 {
			t.Errorf("the producer was asked %d times", n)
		}
	})
}
