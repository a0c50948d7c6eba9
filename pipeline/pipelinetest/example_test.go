package pipelinetest_test

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/exampletest"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/pipeline/pipelinetest"
	"github.com/ackmark/ackmark/producer"
)

var upper = pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
	return []producer.Record{{Topic: "out", Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
})

// A test of a handler with the real consumer, the real pipeline and the real Kafka protocol. Wrap
// it in synctest.Test and time is virtual: backoff and time-outs cost nothing.
func ExampleNew() {
	t := exampletest.New() // in a test: its *testing.T, which also ends it
	defer t.End()

	h := pipelinetest.New(t, pipeline.Config{Handler: upper}, pipelinetest.Topic("out", 1))
	h.Feed(pipelinetest.Record("k", "coffee"))
	h.WaitDone(1)
	fmt.Println(string(h.Outputs("out")[0].Value))
	// Output: COFFEE
}

// Broker changes the embedded broker: its configuration, its access lists, or the versions that it
// speaks. Here it is as old as the oldest one that a service must work with.
func ExampleBroker() {
	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{Handler: upper},
		pipelinetest.Topic("out", 1),
		pipelinetest.Broker(kfake.MaxVersions(kversion.V2_4_0())))
	h.Feed(pipelinetest.Record("k", "coffee"))
	h.WaitDone(1)
	fmt.Println(string(h.Outputs("out")[0].Value))
	// Output: COFFEE
}

// FailProduce lets the broker refuse writes to a topic, as it does with one that is too large for
// it.
func ExampleHarness_FailProduce() {
	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		Handler:    upper,
		DeadLetter: pipeline.DeadLetter{Topic: "dead"},
	}, pipelinetest.Topic("out", 1))
	fault := h.FailProduce("out", kerr.MessageTooLarge, -1) // until it is removed
	h.Feed(pipelinetest.Record("k", "coffee"))
	h.WaitDone(1)
	fault.Remove()
	h.Feed(pipelinetest.Record("k", "tea"))
	h.WaitDone(2)
	fmt.Println("rejected:", string(h.Outputs("dead")[0].Value))
	fmt.Println("written:", string(h.Outputs("out")[0].Value))
	// Output:
	// rejected: coffee
	// written: TEA
}

// Rebalance takes partitions away in the middle of the work, and gives them back: a handler must
// not mind, and nothing may be lost or repeated.
func ExampleHarness_Rebalance() {
	t := exampletest.New()
	defer t.End()
	h := pipelinetest.New(t, pipeline.Config{
		Handler: upper,
		// A service has seconds here; a test need not wait for them.
		Consumer: consumer.Config{HeartbeatInterval: 20 * time.Millisecond},
	}, pipelinetest.Topic("out", 1))
	h.Feed(pipelinetest.Record("a", "1"), pipelinetest.Record("b", "2"), pipelinetest.Record("c", "3"))
	h.Rebalance()
	h.WaitIdle()
	fmt.Println(len(h.Outputs("out")), "outputs of 3 inputs")
	// Output: 3 outputs of 3 inputs
}
