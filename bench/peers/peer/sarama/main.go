// Command sarama is the job by IBM/sarama: a consumer group whose claims write their messages in
// batches and mark them when all are acknowledged.
//
// Source: examples/consumergroup of sarama (the loop, the handler, MarkMessage and when to return);
// the documentation of SyncProducer.SendMessages, which returns when all messages have succeeded or
// failed; of Config.Producer.Idempotent, which needs WaitForAll and Net.MaxOpenRequests of 1. A
// batch is what waits in the claim: its channel holds ChannelBufferSize messages.
package main

import (
	"context"
	"errors"
	"log"

	"github.com/IBM/sarama"

	"github.com/ackmark/ackmark/bench/peers/peer/settings"
)

func main() {
	ctx, s := settings.Read()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Interval = s.CommitEvery
	config.Consumer.Group.InstanceId = s.InstanceID
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Compression = sarama.CompressionSnappy
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer(s.Brokers, config)
	if err != nil {
		log.Fatal(err)
	}
	group, err := sarama.NewConsumerGroup(s.Brokers, s.Group, config)
	if err != nil {
		log.Fatal(err)
	}
	for ctx.Err() == nil { // a rebalance ends Consume
		err := group.Consume(ctx, []string{s.Input}, &handler{producer, s.Output, config.ChannelBufferSize})
		if err != nil && !errors.Is(err, context.Canceled) {
			log.Print("consume: ", err)
		}
	}
	if err := group.Close(); err != nil {
		log.Print(err)
	}
	if err := producer.Close(); err != nil {
		log.Print(err)
	}
}

type handler struct {
	producer sarama.SyncProducer
	output   string
	batch    int
}

func (*handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case in, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			if err := h.write(session, claim, in); err != nil {
				return err
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

// write writes the output of a message, and of those that wait behind it.
func (h *handler) write(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim, last *sarama.ConsumerMessage) error {
	batch := []*sarama.ProducerMessage{h.transform(last)}
	for more := true; more && len(batch) < h.batch; {
		select {
		case in, ok := <-claim.Messages():
			if more = ok; ok {
				batch, last = append(batch, h.transform(in)), in
			}
		default:
			more = false
		}
	}
	if err := h.producer.SendMessages(batch); err != nil {
		return err
	}
	session.MarkMessage(last, "")
	return nil
}

func (h *handler) transform(in *sarama.ConsumerMessage) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: h.output, Key: sarama.ByteEncoder(in.Key), Value: sarama.ByteEncoder(settings.Transform(in.Value))}
}
