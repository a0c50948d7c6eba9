package producer_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ackmark/ackmark/internal/exampletest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// Dial is for processes of a pod that has a sidecar. It connects on first use; while the sidecar
// cannot be reached, what is delivered waits.
func ExampleDial() {
	kafka := exampletest.Start("greetings")
	defer kafka.Close()
	t := exampletest.New()
	defer t.End()
	sidecar := sidecartest.Start(t, kafka.Brokers, nil) // in a pod: `ackmark sidecar`

	p := producer.Dial(sidecar.Target) // unix:///run/ackmark/sidecar.sock
	defer p.Close()
	_, err := p.Emit(context.Background(), producer.Record{Topic: "greetings", Key: []byte("k"), Value: []byte("hello")})
	fmt.Println(kafka.Read("greetings", 1), err)
	// Output: [hello] <nil>
}

// Direct is for a process without a sidecar: it has a Kafka producer of its own, which keeps the
// same promises. Emit returns when Kafka has the record.
func ExampleDirect() {
	kafka := exampletest.Start("events")
	defer kafka.Close()

	p := producer.Direct(producer.DirectConfig{Brokers: kafka.Brokers})
	defer p.Close()
	ack, err := p.Emit(context.Background(), producer.Record{Topic: "events", Value: []byte("hello")})
	fmt.Println(ack.Topic, ack.Partition, ack.Offset, err)
	// Output: events 0 0 <nil>
}

// An Error says by its code what happened, in Kafka's words or Ackmark's, and in its message what
// to do about it. Retryable tells whether the same record may succeed later.
func ExampleError() {
	p := producer.Direct(producer.DirectConfig{Brokers: []string{"localhost:9092"}})
	defer p.Close()
	_, err := p.Emit(context.Background(), producer.Record{Value: []byte("where to?")})
	if e, ok := errors.AsType[*producer.Error](err); ok {
		fmt.Println(e.Code, e.Retryable)
	}
	// Output: INVALID_RECORD_FIELD false
}

// With a fallback the process goes to Kafka itself while its sidecar is away, in the same order of
// each key, and returns to it. Here it is forced to; in a service the mode is OnUnavailable.
func ExampleFallbackConfig() {
	kafka := exampletest.Start("events")
	defer kafka.Close()

	p := producer.DialConfig{
		Target: "unix:///run/ackmark/sidecar.sock",
		Fallback: producer.FallbackConfig{
			Mode:   producer.Forced,
			Direct: producer.DirectConfig{Brokers: kafka.Brokers},
		},
	}.New()
	defer p.Close()
	_, err := p.Emit(context.Background(), producer.Record{Topic: "events", Value: []byte("hello")})
	stats := p.(producer.Switcher).FallbackStats() // for a metric
	fmt.Println(err, stats.Mode, "records written directly:", stats.Records)
	// Output: <nil> forced records written directly: 1
}

// CheckTopics asks whether outputs will have somewhere to go, before the first one is made. (A
// pipeline asks by itself for its Config.Outputs.)
func ExampleTopicChecker() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	p := producer.Direct(producer.DirectConfig{Brokers: kafka.Brokers})
	defer p.Close()

	checker := p.(producer.TopicChecker)
	fmt.Println(checker.CheckTopics(context.Background(), "orders"))
	if e, ok := errors.AsType[*producer.Error](checker.CheckTopics(context.Background(), "odrers")); ok {
		fmt.Println(e.Topic, e.Code)
	}
	// Output:
	// <nil>
	// odrers UNKNOWN_TOPIC_OR_PARTITION
}

// With routes a topic goes through the sidecar, directly, or both ways by its keys: here the
// configuration begins with half of them, and the sidecar says all while the process runs.
func ExampleRouteConfig() {
	kafka := exampletest.Start("invoices")
	defer kafka.Close()
	t := exampletest.New()
	defer t.End()
	pod := sidecartest.Start(t, kafka.Brokers, nil) // in a pod: `ackmark sidecar`

	p := producer.RouteConfig{
		Sidecar: producer.DialConfig{Target: pod.Target, App: "billing"},
		Direct:  producer.DirectConfig{Brokers: kafka.Brokers},
		Topics:  map[string]string{"invoices": "sidecar:50", "*": "direct"},
	}.New()
	defer p.Close()
	say := func(value string) error {
		_, err := p.Emit(context.Background(), producer.Record{Topic: "invoices", Key: []byte("customer 1"), Value: []byte(value)})
		return err
	}
	first := say("first")
	routes := p.(producer.Router).Routes()
	fmt.Println(first, routes[0].By, "by", routes[0].From)

	// As `ackmark set route billing invoices sidecar` does.
	_ = pod.SetRoutes([]sidecar.Route{{App: "billing", Topic: "invoices", By: "sidecar"}})
	for routes[0].By != "sidecar" {
		time.Sleep(time.Millisecond)
		routes = p.(producer.Router).Routes()
	}
	second := say("second")
	fmt.Println(second, routes[0].By, "by", routes[0].From)
	fmt.Println(kafka.Read("invoices", 2))
	// Output:
	// <nil> sidecar:50 by configuration
	// <nil> sidecar by sidecar
	// [first second]
}
