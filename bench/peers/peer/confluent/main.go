// Command confluent is the job by confluent-kafka-go, which is librdkafka: an idempotent producer,
// and an offset that is stored when its output's delivery report has come.
//
// Source: examples/consumer_example of confluent-kafka-go ("by storing the offsets manually after
// completely processing each message, we can ensure at least once processing": StoreMessage with
// enable.auto.offset.store false), examples/producer_example (Produce, the channel of Events,
// ErrQueueFull) and examples/idempotent_producer_example. Delivery reports come in order for each
// partition of the output, not of the input.
package main

import (
	"context"
	"errors"
	"log"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/ackmark/ackmark/bench/peers/peer/settings"
)

func main() {
	ctx, s := settings.Read()
	brokers := strings.Join(s.Brokers, ",")
	config := &kafka.ConfigMap{
		"bootstrap.servers":        brokers,
		"group.id":                 s.Group,
		"auto.offset.reset":        "earliest",
		"enable.auto.offset.store": false,
		"auto.commit.interval.ms":  int(s.CommitEvery.Milliseconds()),
	}
	if s.InstanceID != "" {
		_ = config.SetKey("group.instance.id", s.InstanceID)
	}
	consumer, err := kafka.NewConsumer(config)
	if err != nil {
		log.Fatal(err)
	}
	producer, err := kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers":  brokers,
		"enable.idempotence": true, // and with it acks=all
		"compression.type":   "snappy",
		// "Specify a comma separated list of fields to enable for delivery reports", of package
		// kafka's documentation: what is not asked for is not copied.
		"go.delivery.report.fields": "none",
	})
	if err != nil {
		log.Fatal(err)
	}
	reports := make(chan struct{})
	go func() {
		defer close(reports)
		for e := range producer.Events() {
			switch e := e.(type) {
			case *kafka.Message:
				if e.TopicPartition.Error != nil {
					log.Fatal("produce: ", e.TopicPartition.Error)
				}
				if _, err := consumer.StoreMessage(e.Opaque.(*kafka.Message)); err != nil {
					log.Print("store: ", err) // of a partition that has gone
				}
			case kafka.Error:
				log.Print("producer: ", e)
			}
		}
	}()
	if err := consumer.SubscribeTopics([]string{s.Input}, nil); err != nil {
		log.Fatal(err)
	}
	run(ctx, consumer, producer, s.Output)
	for producer.Flush(1000) > 0 {
	}
	producer.Close() // closes the channel of events
	<-reports
	if err := consumer.Close(); err != nil { // commits what is stored
		log.Print(err)
	}
}

func run(ctx context.Context, consumer *kafka.Consumer, producer *kafka.Producer, output string) {
	for ctx.Err() == nil {
		switch in := consumer.Poll(100).(type) {
		case *kafka.Message:
			out := &kafka.Message{
				TopicPartition: kafka.TopicPartition{Topic: &output, Partition: kafka.PartitionAny},
				Key:            in.Key, Value: settings.Transform(in.Value), Opaque: in,
			}
			err := producer.Produce(out, nil)
			for full(err) {
				time.Sleep(10 * time.Millisecond)
				err = producer.Produce(out, nil)
			}
			if err != nil {
				log.Fatal("produce: ", err)
			}
		case kafka.Error:
			log.Print("consumer: ", in)
		}
	}
}

// full tells that the producer's queue must be waited for.
func full(err error) bool {
	var e kafka.Error
	return errors.As(err, &e) && e.Code() == kafka.ErrQueueFull
}
