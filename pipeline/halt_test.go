package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// A service of which every partition stands still lives, and says so; Run's error names them all.
func TestAllHalted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{Handler: pipeline.HandlerFunc(reject)})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 3))
		h.FeedTo(0, pipelinetest.Record("k", "a"))
		_ = h.WaitHalted()
		if err := h.Pipeline().Check(t.Context()); !errors.Is(err, errBroken) || errors.Is(err, pipeline.ErrAllHalted) {
			t.Errorf("with one of three: %v", err)
		}
		h.FeedTo(1, pipelinetest.Record("k", "a"))
		h.FeedTo(2, pipelinetest.Record("k", "a"))
		h.Wait("all to halt", func() bool { return h.State().Halted == 3 })
		if err := h.Pipeline().Check(t.Context()); !errors.Is(err, pipeline.ErrAllHalted) {
			t.Errorf("with all: %v", err)
		}
		err := h.Stop()
		for _, partition := range []string{"partition 0", "partition 1", "partition 2"} {
			if err == nil || !strings.Contains(err.Error(), partition+" halted") {
				t.Errorf("Run's error does not name %s: %v", partition, err)
			}
		}
	})
}

func TestStopOnHalt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quiet(pipeline.Config{StopOnHalt: true, Concurrency: 1})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "b" {
				return reject(ctx, in)
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"), pipelinetest.Record("k", "c"))
		err := h.WaitEnded()
		if e, ok := errors.AsType[*consumer.HaltError](err); !ok || e.Offset != 1 || !errors.Is(err, errBroken) || strings.Count(err.Error(), "halted at") != 1 {
			t.Errorf("Run returned %v", err)
		}
		if got := h.Committed("in", 0); got != 1 {
			t.Errorf("committed %d", got)
		}
	})
}

// A partition that left, halted, is somebody else's: it is not in Run's error.
func TestHaltedPartitionsThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(reject)}), pipelinetest.Topic("in", 2))
		h.FeedTo(0, pipelinetest.Record("k", "a"))
		h.FeedTo(1, pipelinetest.Record("k", "a"))
		h.Wait("both to halt", func() bool { return h.State().Halted == 2 })
		h.Join()
		held := h.State().Consumer.Partitions
		if err := h.Stop(); len(held) != 1 || err == nil || strings.Count(err.Error(), "halted at") != 1 {
			t.Errorf("holding %d partitions, Run returned %v", len(held), err)
		}
	})
}

// sinkConfig is a pipeline without a producer: the harness would bring one.
func sinkConfig(h *pipelinetest.Harness, handler handle) pipeline.Config {
	return quiet(pipeline.Config{Handler: pipeline.HandlerFunc(handler), Concurrency: 1,
		Consumer: consumer.Config{Brokers: []string{"localhost:9092"}, Group: "sink", Topics: []string{"in"}, Options: h.Options()[1:]}})
}

func TestSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := pipelinetest.New(t, quiet(pipeline.Config{Handler: pipeline.HandlerFunc(upper)}), pipelinetest.Topic("in", 1), pipelinetest.Manual())
		p, err := pipeline.New(sinkConfig(h, func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "output" {
				return []producer.Record{{Topic: "out", Value: in.Value}}, nil
			}
			return nil, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- p.Run(context.Background()) }()
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"))
		h.Wait("the sink", func() bool { return p.State().Done == 2 })
		time.Sleep(3 * time.Second)
		if err := p.Check(t.Context()); err != nil || p.State().Consumer.Partitions[0].Committed != 2 {
			t.Errorf("Check says %v, state %+v", err, p.State())
		}
		h.Feed(pipelinetest.Record("k", "output"))
		select {
		case err = <-ended:
		case <-time.After(time.Minute):
			t.Error("the pipeline goes on")
			err = p.Close()
		}
		if e, ok := errors.AsType[*pipeline.ConfigError](err); !ok || e.Field != "Producer" || !strings.Contains(err.Error(), `"out"`) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// What failed is delivered again in fetch order, whatever the order in which the failures were
// reported.
func TestRedeliveryIsSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := producertest.NewFake(producertest.FakeConfig{Rule: func(producertest.Delivered) producertest.Decision { return producertest.Hold() }})
		defer fake.Close()
		cfg := quiet(pipeline.Config{Producer: fake, KeepProducer: true, Handler: pipeline.HandlerFunc(upper), Concurrency: 1})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"), pipelinetest.Record("k", "c"), pipelinetest.Record("k", "d"))
		if err := fake.WaitUnits(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		fake.Fail(&producer.Error{Code: "REQUEST_TIMED_OUT", Retryable: true, Partition: -1}, 3, 2, 1, 0)
		fake.SetRule(func(producertest.Delivered) producertest.Decision { return producertest.Ack() })
		h.WaitDone(4)
		if got := written(fake.Records("out")); got != "A B C D " {
			t.Errorf("written: %s", got)
		}
	})
}

// What waits behind a handler that hangs is dropped with the assignment that it was fetched in: the
// consumer counts it no more.
func TestQueuesOfLostAssignmentsAreDropped(t *testing.T) {
	for _, order := range []pipeline.Order{pipeline.PerKey, pipeline.PerPartition, pipeline.Unordered} {
		t.Run(order.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fencing{Fake: producertest.NewFake(producertest.FakeConfig{})}
				gate := make(chan struct{})
				cfg := quiet(pipeline.Config{Producer: f, Concurrency: 1, Order: order, HandlerTimeout: -1})
				cfg.Consumer.MaxRecords = 800
				cfg.Handler = pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
					<-gate
					return nil, nil
				})
				h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1))
				h.Feed(records(2000)...)
				most := 0
				for range 8 {
					time.Sleep(5 * time.Second)
					most = max(most, h.State().Queued)
					for _, fn := range f.fns {
						fn(&producer.Error{Code: producer.CodeSessionFenced, Partition: -1})
					}
				}
				if most < 400 || most > 1000 {
					t.Errorf("%d inputs were queued at most, with MaxRecords 800", most)
				}
				close(gate)
				h.WaitDone(2000)
			})
		})
	}
}

// A halted partition goes on when its cause is gone: each input once, and Run's error has nothing
// left to say.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		cfg := quiet(pipeline.Config{Concurrency: 1})
		cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			if string(in.Value) == "b" && !mended.Load() {
				return reject(ctx, in)
			}
			return upper(ctx, in)
		})
		h := pipelinetest.New(t, cfg, pipelinetest.Topic("in", 1), pipelinetest.Topic("out", 1))
		h.Feed(pipelinetest.Record("k", "a"), pipelinetest.Record("k", "b"), pipelinetest.Record("k", "c"))
		_ = h.WaitHalted()
		if err := h.Pipeline().Resume("in", 7); !errors.Is(err, consumer.ErrNotHalted) {
			t.Errorf("of another partition: %v", err)
		}
		mended.Store(true)
		if err := h.Pipeline().Resume("in", 0); err != nil {
			t.Fatal(err)
		}
		h.WaitCommitted("in", 0, 3)
		if got := strings.Join(values(h, "out"), ""); got != "ABC" {
			t.Errorf("outputs %s", got)
		}
		if err := h.Stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}
