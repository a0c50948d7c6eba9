package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/bench/peers/internal/tally"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// driver has the brokers, the built programs and a directory for what runs leave.
type driver struct {
	options
	began      time.Time
	loadBefore string
	dir        string
	bin        string
	missing    map[string]string
	kafka      *kafkatest.Running
	admin      *kadm.Client
	client     *kgo.Client
	names      int
}

func newDriver(_ context.Context, o options) (*driver, error) {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return nil, err
	}
	o.root = root
	d := &driver{options: o, began: time.Now(), loadBefore: load(), missing: map[string]string{}}
	if d.dir, err = os.MkdirTemp("", "peers-*"); err != nil { // short: sockets are in it
		return nil, err
	}
	d.bin = filepath.Join(d.dir, "bin")
	return d, os.Mkdir(d.bin, 0o755)
}

func (d *driver) launch(ctx context.Context) (err error) {
	d.say("starting Kafka")
	d.kafka, err = kafkatest.Launch(ctx, kafkatest.Config{Brokers: d.brokers, HeapMB: 1024, Properties: map[string]string{
		// Topics of runs that are over make room at once.
		"log.segment.delete.delay.ms": "100",
		// Kafka's own; kafkatest's are so short that a busy machine fences the broker.
		"broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "2000",
	}})
	if err != nil {
		return err
	}
	if d.client, err = kgo.NewClient(kgo.SeedBrokers(d.kafka.Addrs()...)); err != nil {
		return err
	}
	d.admin = kadm.NewClient(d.client)
	return nil
}

func (d *driver) close(failed bool) {
	if d.client != nil {
		d.client.Close()
	}
	if d.kafka != nil {
		if logs := d.kafka.Stop(failed); logs != "" {
			d.say("%s", logs)
		}
	}
	if !failed {
		_ = os.RemoveAll(d.dir)
	}
}

func (d *driver) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1f s  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// name makes a name for a topic or a group.
func (d *driver) name(what string) string {
	d.names++
	return fmt.Sprintf("%s-%d", what, d.names)
}

// topicLimit bounds the making of a topic and the election of its leaders.
const topicLimit = 30 * time.Second

func (d *driver) topic(ctx context.Context, what string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, topicLimit)
	defer cancel()
	name := d.name(what)
	if _, err := d.admin.CreateTopic(ctx, int32(d.partitions), -1, nil, name); err != nil {
		return "", fmt.Errorf("topic %s: %w", name, err)
	}
	for { // a peer would measure the election
		ends, err := d.admin.ListEndOffsets(ctx, name)
		if err == nil && ends.Error() == nil && len(ends.Offsets()[name]) == d.partitions {
			return name, nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("topic %s has no leaders: %w", name, ctx.Err())
		}
	}
}

// remove deletes a run's topic and group. What cannot be deleted does no harm.
func (d *driver) remove(group string, topics ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), topicLimit)
	defer cancel()
	_, _ = d.admin.DeleteGroups(ctx, group)
	_, _ = d.admin.DeleteTopics(ctx, topics...)
}

// uncommitted is how many inputs of a topic the group has not committed.
func (d *driver) uncommitted(ctx context.Context, group, topic string, inputs int) (int, error) {
	offsets, err := d.admin.FetchOffsets(ctx, group)
	if err != nil {
		return 0, err
	}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic {
			inputs -= int(o.At)
		}
	})
	return inputs, nil
}

// reader is a plain reader of committed records.
func (d *driver) reader(topics ...string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(d.kafka.Addrs()...), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
}

// feeder makes inputs: a plain producer of franz-go, with the partition of each said.
type feeder struct {
	cl         *kgo.Client
	topic      string
	partitions int
	text       []byte
	size       int
	next       int
	failed     error
}

// keysOfPartition is how many keys the inputs of a partition have: a key is in one partition.
const keysOfPartition = 1000

func (d *driver) feeder(topic string) (*feeder, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.kafka.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return &feeder{cl: cl, topic: topic, partitions: d.partitions, text: tally.Text(d.size), size: d.size}, err
}

// feed writes the next n inputs; flush waits for them.
func (f *feeder) feed(ctx context.Context, n int) {
	for range n {
		i := f.next
		f.next++
		r := &kgo.Record{
			Topic: f.topic, Partition: int32(i % f.partitions),
			Key: fmt.Appendf(nil, "key-%04d", i%(keysOfPartition*f.partitions)), Value: tally.Value(f.text, i, f.size),
		}
		f.cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if f.failed == nil && err != nil { // promises come one at a time
				f.failed = err
			}
		})
	}
}

func (f *feeder) flush(ctx context.Context) error {
	if err := f.cl.Flush(ctx); err != nil {
		return err
	}
	return f.failed
}
