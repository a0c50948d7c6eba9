package bench

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// runPipeline is the job as an Ackmark user writes it, with defaults everywhere.
func (c *child) runPipeline(ctx context.Context) error {
	if c.spec.Slice > 0 {
		return c.runSlices(ctx)
	}
	var handled atomic.Int64
	all := make(chan struct{})
	handle := c.handler()
	cfg, err := c.pipelineConfig()
	if err != nil {
		return err
	}
	cfg.Handler = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
		if handled.Add(1) == int64(c.spec.Inputs) {
			close(all)
		}
		return handle(in), nil
	})
	p, err := pipeline.New(cfg)
	if err != nil {
		return err
	}
	// The last input is being handled: Close drains it, commits, leaves. The clock stops at the
	// answer to that commit.
	var closer sync.WaitGroup
	running, stop := context.WithCancel(ctx)
	closer.Go(func() {
		select {
		case <-all:
			_ = p.Close() // Run returns the same
		case <-running.Done():
		}
	})
	err = p.Run(running)
	stop()
	closer.Wait()
	if err != nil {
		return err
	}
	if c.spec.CommitEvery > 0 { // its sidecar has committed all, and it has left the group
		c.meter.committed()
	}
	c.done(mallocsPerCall(handle))
	return nil
}

// handler makes the contestant's outputs.
func (c *child) handler() func(*consumer.Message) []producer.Record {
	if !c.emits() {
		return func(*consumer.Message) []producer.Record { return nil }
	}
	output := c.spec.Output
	return func(in *consumer.Message) []producer.Record {
		return []producer.Record{{Topic: output, Key: in.Key, Value: transform(in.Value)}}
	}
}

func (c *child) pipelineConfig() (pipeline.Config, error) {
	opts, err := c.clientOptions()
	if err != nil {
		return pipeline.Config{}, err
	}
	mode := pipeline.AtLeastOnce
	if c.spec.CommitEvery > 0 {
		mode = pipeline.ExactlyOnce
	}
	return pipeline.Config{
		Mode: mode,
		Consumer: consumer.Config{
			Brokers: c.spec.Brokers, Group: c.spec.Group, Topics: []string{c.spec.Input}, Options: opts, StateDir: c.spec.StateDir,
			Hooks: consumer.Hooks{Assigned: func(_ context.Context, _ consumer.Membership, added []*consumer.Assignment) {
				if len(added) > 0 {
					c.begin()
				}
			}},
		},
		Producer:    c.producer(opts),
		Concurrency: c.spec.Concurrency, SourceHeaders: c.spec.SourceHeaders,
		Logger: c.log, MeterProvider: c.metrics,
	}, nil
}

func (c *child) producer(opts []kgo.Opt) producer.Producer {
	if c.spec.Socket != "" {
		return producer.DialConfig{Target: c.spec.Socket, App: "bench", Logger: c.log, MeterProvider: c.metrics}.New()
	}
	return producer.Direct(producer.DirectConfig{Brokers: c.spec.Brokers, Options: append(opts, c.lingerOptions()...), Logger: c.log, MeterProvider: c.metrics})
}

// mallocsPerCall is what the handler itself allocates: it is the user's code and not counted
// against Ackmark.
func mallocsPerCall(handle func(*consumer.Message) []producer.Record) float64 {
	const calls = 1000
	in := &consumer.Message{Record: &kgo.Record{Key: []byte("key"), Value: []byte("0123456789 some text to upper-case")}}
	var before, after runtime.MemStats
	var keep []producer.Record
	runtime.ReadMemStats(&before)
	for range calls {
		keep = handle(in)
	}
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(keep)
	return float64((after.Mallocs - before.Mallocs) / calls)
}
