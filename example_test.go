package ackmark_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// A pipeline that ends when it has written what the example waits for. In a service, ctx ends with
// SIGTERM.
func Example() {
	brokers, stop := embeddedBroker("orders", "orders.upper")
	defer stop()
	write(brokers, "orders", "coffee", "tea")

	ctx, cancel := context.WithCancel(context.Background())
	go cancelAfter(cancel, brokers, "orders.upper", 2)
	err := pipeline.Run(ctx, pipeline.Config{
		Consumer: consumer.Config{Brokers: brokers, Group: "upper", Topics: []string{"orders"}, Logger: quiet},
		Producer: producer.Direct(producer.DirectConfig{Brokers: brokers, Logger: quiet}),
		Handler: pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			return []producer.Record{{Topic: "orders.upper", Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
		}),
		Order: pipeline.PerPartition,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(read(brokers, "orders.upper", 2))
	// Output: [COFFEE TEA]
}

// What cannot be processed goes to the dead-letter topic, byte for byte, and is done when that is
// acknowledged.
func Example_deadLetter() {
	brokers, stop := embeddedBroker("orders", "totals", "orders.dead")
	defer stop()
	write(brokers, "orders", `{"id":"a","prices":[1,2]}`, `not json`, `{"id":"b","prices":[5]}`)

	type order struct {
		ID     string
		Prices []int
	}
	ctx, cancel := context.WithCancel(context.Background())
	go cancelAfter(cancel, brokers, "totals", 2)
	err := pipeline.Run(ctx, pipeline.Config{
		Consumer: consumer.Config{Brokers: brokers, Group: "totals", Topics: []string{"orders"}, Logger: quiet},
		Producer: producer.Direct(producer.DirectConfig{Brokers: brokers, Logger: quiet}),
		Handler: pipeline.Transform(pipeline.JSON[order](), pipeline.String(), "totals",
			func(ctx context.Context, in pipeline.Msg[order]) ([]pipeline.Out[string], error) {
				total := 0
				for _, p := range in.Value.Prices {
					total += p
				}
				return []pipeline.Out[string]{{Value: fmt.Sprintf("%s=%d", in.Value.ID, total)}}, nil
			}),
		DeadLetter: pipeline.DeadLetter{Topic: "orders.dead"},
		Order:      pipeline.PerPartition,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(read(brokers, "totals", 2))
	fmt.Println(read(brokers, "orders.dead", 1))
	// Output:
	// [a=3 b=5]
	// [not json]
}

// The consumer alone replaces an auto-commit loop: an offset is committed when everything below it
// is Done.
func Example_consumer() {
	brokers, stop := embeddedBroker("orders")
	defer stop()
	write(brokers, "orders", "coffee", "tea", "milk")

	c, err := consumer.New(consumer.Config{Brokers: brokers, Group: "loop", Topics: []string{"orders"}, Logger: quiet})
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
	// Output:
	// 0 coffee
	// 1 tea
	// 2 milk
}

// One record, acknowledged before Emit returns.
func Example_emit() {
	brokers, stop := embeddedBroker("events")
	defer stop()
	p := producer.Direct(producer.DirectConfig{Brokers: brokers, Logger: quiet})
	defer p.Close()
	ack, err := p.Emit(context.Background(), producer.Record{Topic: "events", Value: []byte("hello")})
	fmt.Println(ack.Topic, ack.Partition, ack.Offset, err)

	_, err = p.Emit(context.Background(), producer.Record{Value: []byte("where to?")})
	if e, ok := errors.AsType[*producer.Error](err); ok {
		fmt.Println(e.Code, strings.Contains(e.Message, "set Record.Topic"))
	}
	// Output:
	// events 0 0 <nil>
	// INVALID_RECORD_FIELD true
}

var quiet = slog.New(slog.DiscardHandler)

// embeddedBroker is an in-memory Kafka for the examples.
func embeddedBroker(topics ...string) (brokers []string, stop func()) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics...))
	if err != nil {
		log.Fatal(err)
	}
	return c.ListenAddrs(), c.Close
}

func write(brokers []string, topic string, values ...string) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		log.Fatal(err)
	}
	defer cl.Close()
	for _, v := range values {
		if err := cl.ProduceSync(context.Background(), kgo.StringRecord(v)).FirstErr(); err != nil {
			log.Fatal(err)
		}
	}
}

// read waits for n values of a topic.
func read(brokers []string, topic string, n int) (values []string) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic))
	if err != nil {
		log.Fatal(err)
	}
	defer cl.Close()
	for len(values) < n {
		for _, r := range cl.PollFetches(context.Background()).Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}

func cancelAfter(cancel func(), brokers []string, topic string, n int) {
	read(brokers, topic, n)
	cancel()
}
