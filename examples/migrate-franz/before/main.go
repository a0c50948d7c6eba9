// Command before is a consumer as services have it: auto-commit, a queue of 1,000 messages, a few
// workers. Killed, it loses what is in the queue and was committed by the poll loop; ../after is
// the same program without that.
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
	client, err := kgo.NewClient(opts...)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var workers sync.WaitGroup
	queue := make(chan *kgo.Record, 1000)
	for range 4 {
		workers.Go(func() {
			for r := range queue {
				if err := handle(r); err != nil {
					log.Print(err) // and the message is gone: its offset was committed, or will be
				}
			}
		})
	}
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, _ int32, err error) { log.Print(err) })
		fetches.EachRecord(func(r *kgo.Record) { queue <- r })
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
