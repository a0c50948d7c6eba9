package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// Latest is for topics that are new to the group: a partition that was added while nobody read is
// read from its start (E2).
func TestLatestOfAKnownTopic(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	client := s.plain(kgo.DefaultProduceTopic(s.input), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write := func(partition int32, n int) {
		for range n {
			r := &kgo.Record{Partition: partition, Value: []byte("value")}
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0, 20)
	if n := s.readLatest(nil, 0); n != 0 {
		t.Errorf("%d inputs before the first start were handed out", n)
	}
	if _, err := s.kafka.Admin().CreatePartitions(t.Context(), 1, s.input); err != nil {
		t.Fatal(err)
	}
	kafkatest.Eventually(t, time.Minute, "the new partition has a leader", func() error {
		topics, err := s.kafka.Admin().ListTopics(t.Context(), s.input)
		if p, ok := topics[s.input].Partitions[partitions]; err == nil && (!ok || p.Leader < 0) {
			err = errors.New("none yet")
		}
		return err
	})
	// A client of its own: the other one remembers the topic as it was.
	client = s.plain(kgo.DefaultProduceTopic(s.input), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write(partitions, 50)
	var handed atomic.Int64
	if n := s.readLatest(&handed, 50); n != 50 {
		t.Errorf("%d of 50 were handed out", n)
	}
}

// readLatest runs a consumer with Latest until it holds all partitions and was given so many
// inputs, and tells how many.
func (s *scenario) readLatest(handed *atomic.Int64, want int64) int64 {
	s.Helper()
	if handed == nil {
		handed = new(atomic.Int64)
	}
	c, err := consumer.New(consumer.Config{
		Brokers: s.kafka.Addrs(), Group: s.group, Topics: []string{s.input}, Protocol: protocolUnderTest, Start: consumer.Latest, Logger: s.logger(),
	})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, func(b *consumer.Batch) {
			for i := range b.Messages {
				if b.Messages[i].Start() {
					b.Messages[i].Done(nil)
					handed.Add(1)
				}
			}
		})
	}()
	kafkatest.Eventually(s, time.Minute, "all is read", func() error {
		if have := len(c.State().Partitions); have < partitions || handed.Load() < want {
			return fmt.Errorf("%d partitions, %d inputs", have, handed.Load())
		}
		return c.Check(ctx)
	})
	cancel()
	if err := <-ended; err != nil {
		s.Error(err)
	}
	return handed.Load()
}

// A fact of Kafka that the size of our commits rests on: one of about 1 MB is refused whole, and
// what groupcommit.Parts makes of it is taken (D3).
func TestCommitsAreSplitBelowTheLimit(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	const many = 260
	topic := s.kafka.CreateTopic("wide", many, nil)
	details, err := s.kafka.Admin().ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("m", donemeta.MaxText)
	all := make([]int32, many)
	for i := range all {
		all[i] = int32(i)
	}
	commit := func(ps []int32) error {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation = s.group, -1
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, details[topic].ID
		for _, p := range ps {
			rp := kmsg.NewOffsetCommitRequestTopicPartition()
			rp.Partition, rp.Offset, rp.Metadata = p, 1, &text
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(t.Context(), s.plain())
		if err != nil {
			return err
		}
		var errs []error
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				errs = append(errs, kerr.ErrorForCode(p.ErrorCode))
			}
		}
		return errors.Join(errs...)
	}
	if err := commit(all); !errors.Is(err, kerr.UnknownServerError) {
		t.Errorf("all in one: %v", err)
	}
	points := make([]groupcommit.Point, len(all))
	for i := range points {
		points[i] = groupcommit.Point{Topic: topic, Metadata: text}
	}
	for first, end := range groupcommit.Parts(s.group, points) {
		if err := commit(all[first:end]); err != nil {
			t.Errorf("%d partitions: %v", end-first, err)
		}
	}
	have, err := s.kafka.Admin().FetchOffsets(t.Context(), s.group)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	have.Each(func(o kadm.OffsetResponse) {
		if o.At == 1 && o.Metadata == text {
			n++
		}
	})
	if n != many {
		t.Errorf("%d of %d are committed", n, many)
	}
}
