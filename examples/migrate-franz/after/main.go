// Command after is ../before with its offsets committed only for messages that were handled: diff
// the two files.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	opts := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(os.Getenv("KAFKA_BROKERS"), ",")...),
		kgo.ConsumerGroup(os.Getenv("GROUP")),
		kgo.ConsumeTopics(os.Getenv("INPUT")),
		kgo.SessionTimeout(6 * time.Second),
	}
	client, err := consumer.New(consumer.Config{Options: opts})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var workers sync.WaitGroup
	queue := make(chan *consumer.Message, 1000)
	for range 4 {
		workers.Go(func() {
			for m := range queue {
				m.Done(m.Retry(func(context.Context) error { return handle(m.Record) })) // until it is handled: nothing behind it is committed before
			}
		})
	}
	for m, err := range client.Messages(ctx) {
		if err != nil {
			log.Print(err)
			continue
		}
		queue <- m
	}
	close(queue)
	workers.Wait()
}

// handle is what the service is for: here, 5 ms of work and a line of output.
func handle(r *kgo.Record) error {
	time.Sleep(5 * time.Millisecond)
	_, err := fmt.Printf("%s\n", r.Value)
	return err
}
