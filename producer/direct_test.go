package producer_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// broker is an embedded broker with the suite's topics.
type broker struct {
	*kfake.Cluster
	stall *kfake.FaultHandle
}

// brokerBackground are the broker's goroutines for a connection: they end when they notice that it
// was closed.
var brokerBackground = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read"),
	goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).write"),
}

func newBroker(t testing.TB, topics ...string) *broker {
	if len(topics) == 0 {
		topics = []string{producertest.TopicA, producertest.TopicB}
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(producertest.Partitions, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &broker{Cluster: c}
}

// Stall answers produce requests with a retriable error and applies none of them.
func (b *broker) Stall(_ *testing.T, on bool) {
	if !on {
		b.stall.Remove()
		return
	}
	b.stall = b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
}

// Records reads a topic to its end.
func (b *broker) Records(t *testing.T, topic string) []producer.Record {
	t.Helper()
	want := int64(0)
	for _, p := range b.PartitionInfos(topic) {
		want += p.HighWatermark
	}
	if want == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), producertest.Patience)
	defer cancel()
	var got []*kgo.Record
	for int64(len(got)) < want {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("reading %s: %v, %d of %d records read", topic, err, len(got), want)
		}
		got = append(got, fs.Records()...)
	}
	sort.SliceStable(got, func(i, j int) bool {
		a, b := got[i], got[j]
		return a.Partition < b.Partition || a.Partition == b.Partition && a.Offset < b.Offset
	})
	out := make([]producer.Record, len(got))
	for i, r := range got {
		out[i] = producer.Record{Topic: topic, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp, Partition: new(r.Partition)}
	}
	return out
}

// quick makes kgo's waits short: these tests are about outcomes.
var quick = []kgo.Opt{
	kgo.ProducerLinger(0), kgo.MetadataMinAge(10 * time.Millisecond), kgo.UnknownTopicRetries(1),
	kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }), kgo.DisableClientMetrics(),
}

func TestDirectConformance(t *testing.T) {
	producertest.Run(t, func(t *testing.T) producertest.Harness {
		b := newBroker(t)
		return producertest.Harness{
			BadTopic: badTopic, BadCode: "UNKNOWN_TOPIC_OR_PARTITION", Stall: b.Stall, Records: b.Records, Background: brokerBackground,
			New: func(t *testing.T, o producertest.Options) producer.Producer {
				return producer.Direct(producer.DirectConfig{Brokers: b.ListenAddrs(), Options: quick,
					MaxBufferedRecords: o.MaxRecords, OnFull: o.OnFull, CloseTimeout: o.CloseTimeout})
			},
		}
	})
}

func TestDirectConfigErrors(t *testing.T) {
	addr := []string{"127.0.0.1:1"}
	for _, c := range []struct {
		name string
		cfg  producer.DirectConfig
		want []string // in the message
	}{
		{"no broker", producer.DirectConfig{}, []string{"DirectConfig.Brokers", "host:port"}},
		{"bad broker", producer.DirectConfig{Brokers: []string{"fine:1", "a:port"}}, []string{"DirectConfig.Brokers", "a:port", "host:port"}},
		{"negative bytes", producer.DirectConfig{Brokers: addr, MaxBufferedBytes: -1}, []string{"MaxBufferedBytes", "-1"}},
		{"negative records", producer.DirectConfig{Brokers: addr, MaxBufferedRecords: -2}, []string{"MaxBufferedRecords", "-2"}},
		{"negative timeout", producer.DirectConfig{Brokers: addr, CloseTimeout: -1}, []string{"CloseTimeout"}},
		{"on full", producer.DirectConfig{Brokers: addr, OnFull: 7}, []string{"DirectConfig.OnFull", "7", "producer.Block"}},
		{"acks", direct(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()), []string{"kgo.DisableIdempotentWrite", "remove it"}},
		{"group", direct(kgo.ConsumerGroup("g")), []string{"Options[0]", "kgo.ConsumerGroup", "consumer"}},
		{"share group", direct(kgo.ShareGroup("g")), []string{"kgo.ShareGroup"}},
		{"topics", direct(kgo.ConsumeTopics("g")), []string{"kgo.ConsumeTopics"}},
		{"partitions", direct(kgo.ConsumePartitions(nil)), []string{"kgo.ConsumePartitions"}},
		{"context", direct(kgo.WithContext(context.Background())), []string{"kgo.WithContext", "S12"}},
		{"partitioner", direct(kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), []string{"kgo.RecordPartitioner", "Record.Partition"}},
		{"buffered records", direct(kgo.MaxBufferedRecords(1)), []string{"kgo.MaxBufferedRecords", "DirectConfig.MaxBufferedRecords"}},
		{"buffered bytes", direct(kgo.MaxBufferedBytes(1)), []string{"kgo.MaxBufferedBytes", "DirectConfig.MaxBufferedBytes"}},
		{"retries", direct(kgo.RecordRetries(1)), []string{"kgo.RecordRetries"}},
		{"delivery timeout", direct(kgo.RecordDeliveryTimeout(time.Second)), []string{"kgo.RecordDeliveryTimeout"}},
		{"cancellation", direct(kgo.AllowIdempotentProduceCancellation()), []string{"kgo.AllowIdempotentProduceCancellation"}},
		{"transaction", direct(kgo.TransactionalID("x")), []string{"kgo.TransactionalID"}},
		{"manual flushing", direct(kgo.ManualFlushing()), []string{"kgo.ManualFlushing"}},
		{"topic always", direct(kgo.DefaultProduceTopicAlways()), []string{"kgo.DefaultProduceTopicAlways"}},
		{"two at once", direct(kgo.ManualFlushing(), kgo.TransactionalID("x")), []string{"Options[0] is kgo.ManualFlushing", "Options[1] is kgo.TransactionalID"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := producer.Direct(c.cfg)
			defer p.Close()
			err := p.Check(t.Context())
			var pe *producer.Error
			if !asError(err, &pe) || pe.Code != producer.CodeInvalidConfig {
				t.Fatalf("Check returned %v, want %s", err, producer.CodeInvalidConfig)
			}
			if ce, ok := errors.AsType[*producer.ConfigError](err); !ok || ce.Config != "producer.DirectConfig" || ce.Remedy == "" {
				t.Errorf("no ConfigError of DirectConfig is in %#v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error does not name %q: %v", w, err)
				}
			}
			if again := p.Deliver(t.Context(), nil, nil); again == nil {
				t.Error("Deliver did not return the configuration error")
			}
		})
	}
}

func direct(opts ...kgo.Opt) producer.DirectConfig {
	return producer.DirectConfig{Brokers: []string{"127.0.0.1:1"}, Options: opts}
}

func TestDirectRefusesAcksOtherThanAll(t *testing.T) {
	// kgo itself refuses acks=1 with idempotence; without that check ours must.
	p := producer.Direct(direct(kgo.RequiredAcks(kgo.LeaderAck())))
	defer p.Close()
	if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "acks") {
		t.Errorf("Check returned %v", err)
	}
	ok := producer.Direct(direct(kgo.RequiredAcks(kgo.AllISRAcks())))
	defer ok.Close()
	if _, err := ok.Emit(t.Context(), producer.Record{}); err == nil || !strings.Contains(err.Error(), "no topic") {
		t.Errorf("acks=all was refused: %v", err)
	}
}

func TestDirectCheckNamesTheBrokers(t *testing.T) {
	p := producer.Direct(producer.DirectConfig{Brokers: []string{"127.0.0.1:1"}, Options: quick})
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := p.Check(ctx)
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("Check returned %v, want the address", err)
	}
}

// noise cannot be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestDirectKafkaErrors(t *testing.T) {
	b := newBroker(t)
	p := producer.Direct(producer.DirectConfig{Brokers: b.ListenAddrs(), Options: quick})
	defer p.Close()
	for _, c := range []struct {
		name, code string
		rec        producer.Record
		retryable  bool
	}{
		{"too large", "MESSAGE_TOO_LARGE", producer.Record{Topic: producertest.TopicA, Value: noise(2 << 20)}, false},
		{"no such partition", "UNKNOWN_TOPIC_OR_PARTITION", producer.Record{Topic: producertest.TopicA, Partition: new(int32(77))}, false},
		{"no such topic", "UNKNOWN_TOPIC_OR_PARTITION", producer.Record{Topic: badTopic}, false},
	} {
		_, err := p.Emit(t.Context(), c.rec)
		var pe *producer.Error
		if !asError(err, &pe) {
			t.Errorf("%s: Emit returned %v", c.name, err)
			continue
		}
		if pe.Code != c.code || pe.Topic != c.rec.Topic || pe.Retryable != c.retryable || pe.Message == "" {
			t.Errorf("%s: %#v", c.name, pe)
		}
	}
}

func asError(err error, target **producer.Error) bool {
	return errors.As(err, target)
}
