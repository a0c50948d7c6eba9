// Command hello is the smallest program: it reads the topic "names" and writes a greeting for each
// name to "greetings". An input is committed when Kafka has its greeting.
//
//	go run ./examples/hello                       # brokers at localhost:9092, a producer of its own
//	go run ./examples/hello kafka:9092            # other brokers
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	brokers := []string{"localhost:9092"}
	if len(os.Args) > 1 {
		brokers = os.Args[1:]
	}
	err := pipeline.Run(ctx, pipeline.Config{
		Consumer: consumer.Config{Brokers: brokers, Group: "hello", Topics: []string{"names"}},
		Producer: producer.Direct(producer.DirectConfig{Brokers: brokers}),
		Handler:  pipeline.HandlerFunc(greet),
	})
	if err != nil {
		log.Fatal(err)
	}
}

func greet(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
	if len(in.Value) == 0 {
		return nil, nil // nobody to greet: filtered, and done
	}
	return []producer.Record{{Topic: "greetings", Key: in.Key, Value: []byte("Hello, " + string(in.Value) + "!")}}, nil
}
