// Command kafka-go is the job by segmentio/kafka-go: FetchMessage, a batch to the Writer,
// CommitMessages.
//
// Source: README of kafka-go: "Explicit Commits" (FetchMessage followed by CommitMessages),
// "Managing Commits" (CommitInterval for improved performance), "Writer". The Writer has no
// idempotence. By default it waits a second for a batch to fill: BatchTimeout is 10 ms here, and a
// batch is what was fetched.
package main

import (
	"context"
	"log"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/ackmark/ackmark/bench/peers/peer/settings"
)

const (
	batch  = 1000
	linger = 10 * time.Millisecond
)

func main() {
	ctx, s := settings.Read()
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers:        s.Brokers,
		GroupID:        s.Group,
		Topic:          s.Input,
		MaxBytes:       10e6,
		QueueCapacity:  batch,
		StartOffset:    kafka.FirstOffset,
		CommitInterval: s.CommitEvery,
		ErrorLogger:    kafka.LoggerFunc(log.Printf),
	})
	writer := &kafka.Writer{
		Addr:         kafka.TCP(s.Brokers...),
		Topic:        s.Output,
		Balancer:     &kafka.Hash{},
		RequiredAcks: kafka.RequireAll,
		BatchSize:    batch,
		BatchTimeout: linger,
		Compression:  kafka.Snappy,
		ErrorLogger:  kafka.LoggerFunc(log.Printf),
	}
	for ctx.Err() == nil {
		in, err := fetch(ctx, reader)
		if err != nil && ctx.Err() == nil {
			log.Print("fetch: ", err)
		}
		if len(in) == 0 {
			continue
		}
		out := make([]kafka.Message, len(in))
		for i, m := range in {
			out[i] = kafka.Message{Key: m.Key, Value: settings.Transform(m.Value)}
		}
		if err := writer.WriteMessages(context.Background(), out...); err != nil {
			log.Fatal("write: ", err)
		}
		if err := reader.CommitMessages(context.Background(), in...); err != nil {
			log.Print("commit: ", err)
		}
	}
	if err := writer.Close(); err != nil {
		log.Print(err)
	}
	if err := reader.Close(); err != nil { // commits
		log.Print(err)
	}
}

// fetch waits for a message, and a little for those behind it.
func fetch(ctx context.Context, reader *kafka.Reader) ([]kafka.Message, error) {
	first, err := reader.FetchMessage(ctx)
	if err != nil {
		return nil, err
	}
	in := []kafka.Message{first}
	ctx, cancel := context.WithTimeout(ctx, linger)
	defer cancel()
	for len(in) < batch {
		m, err := reader.FetchMessage(ctx)
		if err != nil {
			break // nothing more within the time
		}
		in = append(in, m)
	}
	return in, nil
}
