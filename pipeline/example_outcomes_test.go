package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/exampletest"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

// Run is a whole service: it reads, handles, writes, commits, and returns when its context has
// ended and everything that was begun is finished. In a service, signal.NotifyContext makes the
// context.
func ExampleRun() {
	kafka := exampletest.Start("names", "greetings")
	defer kafka.Close()
	kafka.Write("names", "Ada", "Grace")
	ctx := kafka.Until("greetings", 2)

	err := pipeline.Run(ctx, pipeline.Config{
		Consumer: consumer.Config{Brokers: kafka.Brokers, Group: "hello", Topics: []string{"names"}},
		Producer: producer.Direct(producer.DirectConfig{Brokers: kafka.Brokers}),
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: "greetings", Value: []byte("Hello, " + string(in.Value))}}, nil
		}),
		Order: pipeline.PerPartition,
	})
	fmt.Println(kafka.Read("greetings", 2), err)
	fmt.Println("committed:", kafka.Committed("hello", "names"))
	// Output:
	// [Hello, Ada Hello, Grace] <nil>
	// committed: 2
}

// A function is a handler. What it returns decides about its input: records are written, and the
// input is done when Kafka has them; with none it is filtered.
func ExampleHandlerFunc() {
	paid := pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
		if string(in.Value) == "free" {
			return nil, nil // filtered, and done
		}
		return []producer.Record{{Topic: "paid", Key: in.Key, Value: in.Value}}, nil
	})

	t := exampletest.New() // in a test: its *testing.T
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{Handler: paid}, pipelinetest.Topic("paid", 1))
	h.Feed(pipelinetest.Record("k", "free"), pipelinetest.Record("k", "five euros"))
	h.WaitDone(2)
	for _, r := range h.Outputs("paid") {
		fmt.Println(string(r.Value))
	}
	// Output: five euros
}

// Retry is for a wait that somebody else dictates, as a server with its Retry-After does. It does
// not count towards MaxAttempts.
func ExampleRetry() {
	busy := 3
	handler := pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
		if busy > 0 {
			busy--
			return nil, pipeline.Retry(errors.New("429 Too Many Requests"), time.Millisecond)
		}
		return []producer.Record{{Topic: "out", Value: in.Value}}, nil
	})

	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{Handler: handler, MaxAttempts: 1}, pipelinetest.Topic("out", 1))
	h.Feed(pipelinetest.Record("k", "patient"))
	h.WaitDone(1)
	fmt.Println(len(h.Outputs("out")), "output after", h.State().Retries, "retries")
	// Output: 1 output after 3 retries
}

// Reject is for an input that no retry helps. It goes to the dead-letter topic at once.
func ExampleReject() {
	handler := pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
		if !json.Valid(in.Value) {
			return nil, pipeline.Reject(errors.New("not JSON"))
		}
		return []producer.Record{{Topic: "out", Value: in.Value}}, nil
	})

	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{Handler: handler, DeadLetter: pipeline.DeadLetter{Topic: "dead"}}, pipelinetest.Topic("out", 1))
	h.Feed(pipelinetest.Record("k", `{"id":1}`), pipelinetest.Record("k", `{"id":`))
	h.WaitDone(2) // a dead letter is done, too
	fmt.Println("written:", string(h.Outputs("out")[0].Value))
	fmt.Println("rejected:", string(h.Outputs("dead")[0].Value))
	// Output:
	// written: {"id":1}
	// rejected: {"id":
}

// Fatal is for an error that is no input's fault. The pipeline stops, and the input is handled
// again by whoever comes next.
func ExampleFatal() {
	handler := pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
		return nil, pipeline.Fatal(errors.New("the table customers is missing"))
	})

	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{Handler: handler}, pipelinetest.Topic(pipelinetest.DefaultTopic, 1))
	h.Feed(pipelinetest.Record("k", "v"))
	err := h.WaitEnded() // what Run returned
	if fatal, ok := errors.AsType[*pipeline.FatalError](err); ok {
		fmt.Println(fatal.Err, "at", fatal.Input.Topic, fatal.Input.Offset)
	}
	fmt.Println("committed:", h.Committed(pipelinetest.DefaultTopic, 0) > 0)
	// Output:
	// the table customers is missing at in 0
	// committed: false
}

// A letter is the input as it came, with headers that say why and where from.
func ExampleDeadLetter() {
	handler := pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
		return nil, errors.New("no such customer") // a plain error: tried MaxAttempts times
	})

	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		Handler: handler, MaxAttempts: 3, Backoff: pipeline.Backoff{Initial: time.Millisecond},
		DeadLetter: pipeline.DeadLetter{Topic: "orders.dead"},
	}, pipelinetest.Topic(pipelinetest.DefaultTopic, 1))
	h.Feed(pipelinetest.Record("ada", "42"))
	h.WaitDone(1)
	letter := h.Outputs("orders.dead")[0]
	fmt.Println(string(letter.Key), string(letter.Value))
	for _, header := range letter.Headers {
		switch header.Key {
		case pipeline.HeaderTopic, pipeline.HeaderOffset, pipeline.HeaderError, pipeline.HeaderAttempts:
			fmt.Printf("%s: %s\n", header.Key, header.Value)
		}
	}
	// Output:
	// ada 42
	// ackmark.dlq.topic: in
	// ackmark.dlq.offset: 0
	// ackmark.dlq.error: no such customer
	// ackmark.dlq.attempts: 3
}

// Without a dead-letter topic a rejected input halts its partition: nothing is skipped. Resume
// takes it up again when the cause is gone; the process goes on all the time.
func ExamplePipeline_Resume() {
	t := exampletest.New()
	defer t.End()
	known := make(chan bool, 1)
	h := pipelinetest.New(t, pipeline.Config{
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			select {
			case <-known:
				return []producer.Record{{Topic: "out", Value: in.Value}}, nil
			default:
				return nil, pipeline.Reject(errors.New("no such customer"))
			}
		}),
	}, pipelinetest.Topic("out", 1), pipelinetest.Topic(pipelinetest.DefaultTopic, 1))
	h.Feed(pipelinetest.Record("ada", "42"))

	var halt *consumer.HaltError
	if errors.As(h.WaitHalted(), &halt) {
		fmt.Println("halted at", halt.Topic, halt.Partition, halt.Offset)
	}
	known <- true // somebody has added the customer
	fmt.Println("resumed:", h.Pipeline().Resume(halt.Topic, halt.Partition))
	h.WaitDone(1)
	fmt.Println("written:", string(h.Outputs("out")[0].Value))
	// Output:
	// halted at in 0 0
	// resumed: <nil>
	// written: 42
}
