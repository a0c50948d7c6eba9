package ackmark_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/exampletest"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// A whole service. In yours, ctx ends with SIGTERM: signal.NotifyContext makes it.
func Example() {
	kafka := exampletest.Start("orders", "orders.upper")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "tea")
	ctx := kafka.Until("orders.upper", 2)

	err := pipeline.Run(ctx, pipeline.Config{
		Consumer: consumer.Config{Brokers: kafka.Brokers, Group: "upper", Topics: []string{"orders"}},
		Producer: producer.Direct(producer.DirectConfig{Brokers: kafka.Brokers}),
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: "orders.upper", Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
		}),
		Order: pipeline.PerPartition, // these orders have no keys
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(kafka.Read("orders.upper", 2))
	fmt.Println("committed:", kafka.Committed("upper", "orders"))
	// Output:
	// [COFFEE TEA]
	// committed: 2
}

// The same service with the sidecar of its pod: one Kafka producer for all its processes. Here it
// runs in the example's process; in a pod it is `ackmark sidecar`, and only Dial is yours.
func Example_sidecar() {
	kafka := exampletest.Start("orders", "orders.upper")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "tea")
	stop, socket := startSidecar(kafka.Brokers)
	defer stop()

	err := pipeline.Run(kafka.Until("orders.upper", 2), pipeline.Config{
		Consumer: consumer.Config{Brokers: kafka.Brokers, Group: "upper", Topics: []string{"orders"}},
		Producer: producer.Dial(socket),
		Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: "orders.upper", Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
		}),
		Order: pipeline.PerPartition,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(kafka.Read("orders.upper", 2))
	// Output: [COFFEE TEA]
}

// startSidecar is what `ackmark sidecar` does; package sidecar's example shows it line by line.
func startSidecar(brokers []string) (stop func(), target string) {
	dir, err := os.MkdirTemp("", "ackmark")
	if err != nil {
		log.Fatal(err)
	}
	target = "unix://" + dir + "/s.sock"
	s, err := sidecar.New(sidecar.Config{Brokers: brokers, Listen: target})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			log.Print(err)
		}
		_ = os.RemoveAll(dir)
	}, target
}

// The consumer alone replaces an auto-commit loop: an offset is committed when everything below it
// is Done.
func Example_consumer() {
	kafka := exampletest.Start("orders")
	defer kafka.Close()
	kafka.Write("orders", "coffee", "tea", "milk")

	c, err := consumer.New(consumer.Config{Brokers: kafka.Brokers, Group: "loop", Topics: []string{"orders"}})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range c.Messages(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Offset, string(m.Value))
		m.Done(nil) // from any goroutine, in any order
		if m.Offset == 2 {
			break // commits and leaves the group
		}
	}
	fmt.Println("committed:", kafka.Committed("loop", "orders"))
	// Output:
	// 0 coffee
	// 1 tea
	// 2 milk
	// committed: 3
}
