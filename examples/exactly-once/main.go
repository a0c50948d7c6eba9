// Command exactly-once reads "orders" and writes one line for each to "invoices", so that a reader
// of committed records sees it once, whatever dies: kill it with SIGKILL as often as you like.
//
//	go run ./examples/exactly-once                       # brokers at localhost:9092
//	go run ./examples/exactly-once invoices-1 kafka:9092 # another transactional id, other brokers
//
// Through the pod's sidecar, as many processes as you like, and none has an id:
//
//	ackmark sidecar --brokers localhost:9092 --transactional-id invoices-0
//	SIDECAR=unix:///run/ackmark/sidecar.sock go run ./examples/exactly-once
//
// Read the outputs with isolation.level=read_committed:
//
//	kafka-console-consumer.sh --topic invoices --from-beginning --isolation-level read_committed …
//	ackmark audit --brokers localhost:9092 --group invoices --output invoices --exactly-once
package main

import (
	"context"
	"fmt"
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
	id, brokers := "invoices-0", []string{"localhost:9092"}
	if len(os.Args) > 1 {
		id = os.Args[1]
	}
	if len(os.Args) > 2 {
		brokers = os.Args[2:]
	}
	cfg := configure(id, brokers)
	if target := os.Getenv("SIDECAR"); target != "" {
		cfg = withSidecar(cfg, target)
	}
	if err := pipeline.Run(ctx, cfg); err != nil {
		log.Fatal(err)
	}
}

// configure differs from at-least-once in two fields: Mode, and the producer's TransactionalID. The
// id is this process's own, and the same one whenever it is started again; so is the instance id,
// by which its partitions do not wait for the session of the process that was killed.
func configure(id string, brokers []string) pipeline.Config {
	return pipeline.Config{
		Mode:     pipeline.ExactlyOnce,
		Consumer: consumer.Config{Brokers: brokers, Group: "invoices", Topics: []string{"orders"}, InstanceID: id},
		Producer: producer.Direct(producer.DirectConfig{Brokers: brokers, TransactionalID: id}),
		Handler:  pipeline.HandlerFunc(invoice),
		// So that ackmark audit --exactly-once can tell what each output was made from.
		SourceHeaders: true,
	}
}

// withSidecar is the same in the transactions of the pod's sidecar: it has the transactional id,
// and leaves the group for a process that was killed, so that no instance id is needed.
func withSidecar(cfg pipeline.Config, target string) pipeline.Config {
	cfg.Producer, cfg.Consumer.InstanceID = producer.Dial(target), ""
	return cfg
}

// invoice may run again for an order whose invoice nobody has seen. What it does elsewhere is not
// in the transaction: give that the input's ID as the key of an upsert.
func invoice(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
	line := fmt.Sprintf("invoice %s: %s", in.ID(), in.Value)
	return []producer.Record{{Topic: "invoices", Key: in.Key, Value: []byte(line)}}, nil
}
