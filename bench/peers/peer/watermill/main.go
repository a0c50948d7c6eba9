// Command watermill is the job by Watermill's router with its Kafka publisher and subscriber: one
// handler, an acknowledgement when its outputs are published.
//
// Source: watermill.io/docs/messages-router (Router.AddHandler), watermill.io/pubsubs/kafka and the
// documentation of kafka.DefaultSaramaSubscriberConfig (OverwriteSaramaConfig, OffsetOldest) and
// kafka.NewWithPartitioningMarshaler. The publisher waits for each message, and the subscriber
// hands out the next one of a partition when the last one is acknowledged: that is the library.
package main

import (
	"log"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/ackmark/ackmark/bench/peers/peer/settings"
)

func main() {
	ctx, s := settings.Read()
	logger := watermill.NewStdLogger(false, false)
	// The key goes the way of the context: Watermill's messages have none.
	marshaler := kafka.NewWithPartitioningMarshaler(func(_ string, m *message.Message) (string, error) {
		key, _ := kafka.MessageKeyFromCtx(m.Context())
		return string(key), nil
	})

	consume := kafka.DefaultSaramaSubscriberConfig()
	consume.Version = sarama.V3_6_0_0
	consume.Consumer.Offsets.Initial = sarama.OffsetOldest
	consume.Consumer.Offsets.AutoCommit.Interval = s.CommitEvery
	consume.Consumer.Group.InstanceId = s.InstanceID
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Brokers: s.Brokers, Unmarshaler: marshaler, ConsumerGroup: s.Group, OverwriteSaramaConfig: consume,
	}, logger)
	if err != nil {
		log.Fatal(err)
	}

	produce := kafka.DefaultSaramaSyncPublisherConfig()
	produce.Version = sarama.V3_6_0_0
	produce.Producer.RequiredAcks = sarama.WaitForAll
	produce.Producer.Idempotent = true
	produce.Net.MaxOpenRequests = 1
	produce.Producer.Compression = sarama.CompressionSnappy
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: s.Brokers, Marshaler: marshaler, OverwriteSaramaConfig: produce}, logger)
	if err != nil {
		log.Fatal(err)
	}

	router, err := message.NewRouter(message.RouterConfig{}, logger)
	if err != nil {
		log.Fatal(err)
	}
	router.AddHandler("upper", s.Input, subscriber, s.Output, publisher, func(in *message.Message) ([]*message.Message, error) {
		out := message.NewMessage(watermill.NewUUID(), settings.Transform(in.Payload))
		out.SetContext(in.Context())
		return []*message.Message{out}, nil
	})
	if err := router.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
