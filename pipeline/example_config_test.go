package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/exampletest"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// A batch handler is for work that is cheaper together: one query, one request for many inputs. It
// returns one result for each, at the same index, so that each has an outcome of its own.
func ExampleBatchHandlerFunc() {
	prices := map[string]string{"tea": "3", "coffee": "4"} // one query for the whole batch
	handler := pipeline.BatchHandlerFunc(func(_ context.Context, in []*consumer.Message) []pipeline.Result {
		results := make([]pipeline.Result, len(in))
		for i, m := range in {
			if price, ok := prices[string(m.Value)]; ok {
				results[i].Outputs = []producer.Record{{Topic: "priced", Key: m.Key, Value: []byte(price)}}
			} else {
				results[i].Err = pipeline.Reject(errors.New("no price"))
			}
		}
		return results
	})

	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		BatchHandler: handler, MaxBatch: 500,
		DeadLetter: pipeline.DeadLetter{Topic: "dead"},
	}, pipelinetest.Topic("priced", 1))
	h.Feed(pipelinetest.Record("k", "tea"), pipelinetest.Record("k", "water"), pipelinetest.Record("k", "coffee"))
	h.WaitDone(3)
	for _, r := range h.Outputs("priced") {
		fmt.Println("priced", string(r.Value))
	}
	fmt.Println("rejected", string(h.Outputs("dead")[0].Value))
	// Output:
	// priced 3
	// priced 4
	// rejected water
}

// Transform decodes an input, calls a function, and encodes what it returns for one topic. What
// does not decode is rejected.
func ExampleTransform() {
	type order struct {
		ID     string
		Prices []int
	}
	totals := pipeline.Transform(pipeline.JSON[order](), pipeline.String(), "totals",
		func(_ context.Context, in pipeline.Msg[order]) ([]pipeline.Out[string], error) {
			sum := 0
			for _, p := range in.Value.Prices {
				sum += p
			}
			return []pipeline.Out[string]{{Value: fmt.Sprintf("%s=%d", in.Value.ID, sum)}}, nil
		})

	// A handler is called like any function: no broker is needed to test it.
	records, err := totals.Handle(context.Background(), input(`{"ID":"a7","Prices":[1,2]}`))
	fmt.Println(records[0].Topic, string(records[0].Value), err)
	_, err = totals.Handle(context.Background(), input(`{"ID":`))
	_, undecodable := errors.AsType[*pipeline.CodecError](err)
	fmt.Println("rejected:", undecodable)
	// Output:
	// totals a7=3 <nil>
	// rejected: true
}

func input(value string) *consumer.Message {
	return &consumer.Message{Record: &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte(value)}}
}

// A Port is where values of one type go. Value keeps the input's key, and by it the input's order;
// Out is for a key, headers or a topic of its own.
func ExamplePort() {
	emails := pipeline.To(pipeline.String(), "emails")
	handler := pipeline.FanOut(pipeline.String(), func(_ context.Context, in pipeline.Msg[string]) ([]pipeline.Output, error) {
		return []pipeline.Output{
			emails.Value("welcome, " + in.Value),
			emails.Out(pipeline.Out[string]{Value: "new: " + in.Value, Key: []byte("sales"), Topic: "emails.internal"}),
		}, nil
	})

	records, err := handler.Handle(context.Background(), input("Ada"))
	for _, r := range records {
		fmt.Printf("%s, key %s: %s\n", r.Topic, r.Key, r.Value)
	}
	fmt.Println(err)
	// Output:
	// emails, key k: welcome, Ada
	// emails.internal, key sales: new: Ada
	// <nil>
}

// Nullable is for compacted topics, where a null value says that the key is deleted. Without it a
// codec takes a tombstone for an error, and the input is rejected.
func ExampleNullable() {
	customer := pipeline.Nullable(pipeline.String())
	handler := pipeline.Transform(customer, customer, "customers.upper",
		func(_ context.Context, in pipeline.Msg[*string]) ([]pipeline.Out[*string], error) {
			if in.Value == nil {
				return []pipeline.Out[*string]{{Value: nil}}, nil // pass the tombstone on
			}
			return []pipeline.Out[*string]{{Value: new(strings.ToUpper(*in.Value))}}, nil
		})

	tombstone := input("")
	tombstone.Value = nil
	records, err := handler.Handle(context.Background(), tombstone)
	fmt.Println(records[0].Value == nil, err)
	// Output: true <nil>
}

// AroundInput sees each input once, with what became of it after all attempts: the place for a log
// line, a span, a metric. AroundAttempt sees every call.
func ExampleMiddleware() {
	var line string
	logged := func(next pipeline.Handler) pipeline.Handler {
		return pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			outputs, err := next.Handle(ctx, in)
			line = fmt.Sprintf("offset %d: %d outputs, error %v", in.Offset, len(outputs), err)
			return outputs, err
		})
	}
	attempts := 0
	counted := func(next pipeline.Handler) pipeline.Handler {
		return pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			attempts++
			return next.Handle(ctx, in)
		})
	}

	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			if attempts < 2 {
				return nil, errors.New("away for a moment")
			}
			return []producer.Record{{Topic: "out", Value: bytes.ToUpper(in.Value)}}, nil
		}),
		Backoff: pipeline.Backoff{Initial: time.Millisecond},
		Middleware: pipeline.Middleware{
			AroundInput:   []func(pipeline.Handler) pipeline.Handler{logged},
			AroundAttempt: []func(pipeline.Handler) pipeline.Handler{counted},
		},
	}, pipelinetest.Topic("out", 1))
	h.Feed(pipelinetest.Record("k", "v"))
	h.WaitDone(1)
	fmt.Println(line)
	fmt.Println("attempts:", attempts)
	// Output:
	// offset 0: 1 outputs, error <nil>
	// attempts: 2
}

// By default the inputs of one key are handled one after the other, and different keys side by
// side. PerPartition is for topics whose order means something across keys.
func ExampleOrder() {
	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: "out", Value: in.Value}}, nil
		}),
		Order:       pipeline.PerPartition,
		Concurrency: 8, // lanes; each partition is in one of them
	}, pipelinetest.Topic(pipelinetest.DefaultTopic, 1), pipelinetest.Topic("out", 1))
	h.Feed(pipelinetest.Record("a", "1"), pipelinetest.Record("b", "2"), pipelinetest.Record("c", "3"))
	h.WaitDone(3)
	for _, r := range h.Outputs("out") {
		fmt.Println(string(r.Value))
	}
	// Output:
	// 1
	// 2
	// 3
}

// An output into a topic that the pipeline reads comes back as an input. Where that is never meant,
// refuse it: the output is not written, and the pipeline stops.
func ExampleLoops() {
	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: in.Topic, Value: in.Value}}, nil // meant: in.Topic + ".upper"
		}),
		Loops: pipeline.LoopsRefused,
	})
	h.Feed(pipelinetest.Record("k", "v"))
	if loop, ok := errors.AsType[*pipeline.LoopError](h.WaitEnded()); ok {
		fmt.Println("an output into", loop.Topic)
	}
	// Output: an output into in
}

// A sink writes somewhere else, to a database say, and has no outputs: leave Producer away. An
// input is done when its handler returns nil.
func ExampleConfig_sink() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "tea")

	ctx, stop := context.WithCancel(context.Background())
	var table []string
	err := pipeline.Run(ctx, pipeline.Config{
		Consumer: consumer.Config{Brokers: kafka.Brokers, Group: "sink", Topics: []string{"orders"}},
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			table = append(table, string(in.Value)) // idempotent in a real one: after a crash inputs may come again
			if len(table) == 2 {
				stop()
			}
			return nil, nil
		}),
		Order: pipeline.PerPartition,
	})
	fmt.Println(table, err)
	fmt.Println("committed:", kafka.Committed("sink", "orders"))
	// Output:
	// [coffee tea] <nil>
	// committed: 2
}

// State is for a metric or a page of your own; it asks no broker, so it may be called often.
func ExamplePipeline_State() {
	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		Consumer: consumer.Config{CommitAfter: 1}, // else a commit comes within a second
		Handler:  pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) { return nil, nil }),
	}, pipelinetest.Topic(pipelinetest.DefaultTopic, 1))
	h.Feed(pipelinetest.Record("k", "1"), pipelinetest.Record("k", "2"))
	h.WaitIdle()

	s := h.Pipeline().State()
	fmt.Println("done:", s.Done, "halted:", s.Halted)
	for _, p := range s.Consumer.Partitions {
		fmt.Println(p.Topic, p.Partition, "ack mark:", p.AckMark, "committed:", p.Committed)
	}
	// Output:
	// done: 2 halted: 0
	// in 0 ack mark: 2 committed: 2
}

// Close ends Run from elsewhere, as the end of its context does: what was begun is finished,
// written and committed first. What takes longer than Consumer.DrainTimeout is named by the error.
func ExamplePipeline_Close() {
	kafka := exampletest.Start("orders", "out")
	defer kafka.Close()
	kafka.Write("orders", "coffee")

	handling := make(chan struct{})
	p, err := pipeline.New(pipeline.Config{
		Consumer: consumer.Config{Brokers: kafka.Brokers, Group: "drain", Topics: []string{"orders"}, DrainTimeout: 20 * time.Second},
		Producer: producer.Direct(producer.DirectConfig{Brokers: kafka.Brokers}),
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			close(handling) // from here on Close waits for this input
			return []producer.Record{{Topic: "out", Value: in.Value}}, nil
		}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		<-handling
		_ = p.Close() // Run returns the same error
	}()
	fmt.Println(p.Run(context.Background()))
	fmt.Println(kafka.Read("out", 1), "committed:", kafka.Committed("drain", "orders"))
	// Output:
	// <nil>
	// [coffee] committed: 1
}

// Check is made for a readiness probe: nil, or all that is wrong and what to do about it.
func ExamplePipeline_Check() {
	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		Handler: pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) { return nil, nil }),
		Outputs: []string{"orders.upper"}, // named here, so that a missing one is found before the first output
	})
	h.Wait("the group to be joined", func() bool { return h.State().Consumer.Joined })

	err := h.Pipeline().Check(context.Background())
	fmt.Println("ready:", err == nil)
	fmt.Println("names the topic:", strings.Contains(err.Error(), "orders.upper"))
	// Output:
	// ready: false
	// names the topic: true
}
