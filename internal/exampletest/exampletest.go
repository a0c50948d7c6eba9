// Package exampletest is what the runnable examples of the public packages stand on, so that each
// of them shows one thing only: an embedded Kafka, and a testing.TB for the test kits.
package exampletest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// T stands for the *testing.T of a test: an example has none, and test kits ask for one. A failure
// panics, which fails the example.
type T struct {
	testing.TB // nil: only what is defined below may be called
	cleanups   []func()
}

// New makes one. Nothing is logged until its End.
func New() *T {
	t := &T{}
	before := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(before) })
	return t
}

// End does what the end of a test does: the clean-ups, the last one first.
func (t *T) End() {
	for n := len(t.cleanups); n > 0; n = len(t.cleanups) {
		last := t.cleanups[n-1]
		t.cleanups = t.cleanups[:n-1]
		last()
	}
}

// Cleanup is testing.T's, and so are the others.
func (t *T) Cleanup(fn func()) { t.cleanups = append(t.cleanups, fn) }

func (t *T) Helper()                           {}
func (t *T) Failed() bool                      { return false }
func (t *T) Logf(string, ...any)               {}
func (t *T) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (t *T) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Kafka is an embedded broker. What goes wrong panics.
type Kafka struct {
	Brokers []string
	t       *T
	cluster *kfake.Cluster
}

// Start starts a broker with topics of one partition each, and keeps the log still until its Close.
func Start(topics ...string) *Kafka {
	t := New()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics...))
	must(err)
	t.Cleanup(cluster.Close)
	return &Kafka{Brokers: cluster.ListenAddrs(), t: t, cluster: cluster}
}

// Close stops the broker, when everybody who waits in Until has an answer.
func (k *Kafka) Close() { k.t.End() }

// Write writes values to a topic in this order.
func (k *Kafka) Write(topic string, values ...string) { k.WriteAt(topic, time.Now(), values...) }

// WriteAt is Write with the records' time.
func (k *Kafka) WriteAt(topic string, at time.Time, values ...string) {
	cl := k.client(kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
	defer cl.Close()
	for _, v := range values {
		r := kgo.StringRecord(v)
		r.Timestamp = at
		must(cl.ProduceSync(context.Background(), r).FirstErr())
	}
}

// DeleteBefore takes a topic's first records away, as retention does. A group that has read nothing
// yet was to begin with them.
func (k *Kafka) DeleteBefore(topic string, offset int64, group string) {
	admin := kadm.NewClient(k.client())
	defer admin.Close()
	ctx := context.Background()
	var first, kept kadm.Offsets
	first.Add(kadm.Offset{Topic: topic, LeaderEpoch: -1})
	must(admin.CommitAllOffsets(ctx, group, first))
	kept.Add(kadm.Offset{Topic: topic, At: offset})
	_, err := admin.DeleteRecords(ctx, kept)
	must(err)
}

// Read waits until a topic has n values, and returns them.
func (k *Kafka) Read(topic string, n int) (values []string) {
	cl := k.client(kgo.ConsumeTopics(topic))
	defer cl.Close()
	for len(values) < n {
		for _, r := range cl.PollFetches(context.Background()).Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}

// Until returns a context that ends when a topic has n records, as a service's does with SIGTERM.
func (k *Kafka) Until(topic string, n int) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer cancel()
		k.Read(topic, n)
	}()
	k.t.Cleanup(func() { <-ended })
	return ctx
}

// Committed is what a group has committed for a topic's only partition: -1 for nothing.
func (k *Kafka) Committed(group, topic string) int64 {
	if info := k.cluster.GroupInfo(group); info != nil {
		if c, ok := info.Commits[topic][0]; ok {
			return c.Offset
		}
	}
	return -1
}

func (k *Kafka) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(k.Brokers...))...)
	must(err)
	return cl
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
