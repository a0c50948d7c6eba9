package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
)

// wide is a group with so many partitions, and so much done above each committed offset, that one
// commit of all is larger than what Kafka takes in one request (its batch in the offsets topic
// would be above max.message.bytes).
type wide struct {
	*scenario
	topicID   [16]byte
	inherited []donemeta.Run
}

const (
	widePartitions = 260
	wideInputs     = 10 // in each partition; the first one is never done
	wideNearlyFull = donemeta.MaxText - 8
)

func newWide(t *testing.T) *wide {
	t.Helper()
	w := &wide{scenario: newScenario(t, brokers(t))}
	w.input = w.kafka.CreateTopic("wide", widePartitions, nil)
	topics, err := w.kafka.Admin().ListTopics(t.Context(), w.input)
	if err = errors.Join(err, topics.Error()); err != nil {
		t.Fatal(err)
	}
	w.topicID = [16]byte(topics[w.input].ID)
	for at := int64(2 * wideInputs); at < donemeta.MaxSpan; at += 2 {
		w.inherited = append(w.inherited, donemeta.Run{First: at, Last: at})
	}
	text, kept := donemeta.Append(nil, donemeta.Binding{TopicID: w.topicID, LeaderEpoch: -1}, w.inherited)
	if kept < len(w.inherited) || len(text) < wideNearlyFull {
		t.Fatalf("the done-set holds %d of %d runs in %d characters", kept, len(w.inherited), len(text))
	}
	for from := int32(0); from < widePartitions; from += 100 { // what the test itself commits must fit, too
		var offsets kadm.Offsets
		for p := from; p < min(from+100, widePartitions); p++ {
			offsets.Add(kadm.Offset{Topic: w.input, Partition: p, At: 0, LeaderEpoch: -1, Metadata: string(text)})
		}
		if err := w.kafka.Admin().CommitAllOffsets(t.Context(), w.group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	client := w.plain(kgo.DefaultProduceTopic(w.input), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(widePartitions) {
		for range wideInputs {
			client.Produce(t.Context(), &kgo.Record{Partition: p, Value: []byte("v")}, nil)
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// consume reads all partitions, and hands every input but the first of each to fn, until stop is
// called. It commits nothing by time.
func (w *wide) consume(hooks consumer.Hooks, fn func([]consumer.Message)) (stop func() error) {
	w.Helper()
	c, err := consumer.New(consumer.Config{Brokers: w.kafka.Addrs(), Group: w.group, Topics: []string{w.input}, Protocol: protocolUnderTest, Logger: w.logger(),
		SessionTimeout: 45 * time.Second, CommitEvery: time.Hour, CommitAfter: 1 << 30, Hooks: hooks})
	if err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(context.Background(), func(b *consumer.Batch) {
			list := b.Messages
			if len(list) > 0 && list[0].Offset == 0 {
				list = list[1:]
			}
			fn(list)
		})
	}()
	stop = sync.OnceValue(func() error {
		_ = c.Close()
		return <-ended
	})
	w.Cleanup(func() { _ = stop() })
	return stop
}

// landed tells whether the group has everything that is done of every partition: what was
// inherited, and the inputs from the second on.
func (w *wide) landed() error {
	all, err := w.kafka.Admin().FetchOffsets(w.Context(), w.group)
	if err != nil {
		return err
	}
	done := append([]donemeta.Run{{First: 1, Last: wideInputs - 1}}, w.inherited...)
	for p := range int32(widePartitions) {
		o, _ := all.Lookup(w.input, p)
		runs, err := donemeta.Parse(o.Metadata, donemeta.Binding{TopicID: w.topicID, Base: o.At, LeaderEpoch: o.LeaderEpoch}, nil)
		switch {
		case errors.Join(err, o.Err) != nil:
			return fmt.Errorf("partition %d: %w", p, errors.Join(err, o.Err))
		case o.At != 0 || len(o.Metadata) < wideNearlyFull:
			return fmt.Errorf("partition %d: offset %d with %d characters", p, o.At, len(o.Metadata))
		case fmt.Sprint(runs) != fmt.Sprint(done):
			return fmt.Errorf("partition %d: %d runs from %v on, want %d from %v on", p, len(runs), runs[0], len(done), done[0])
		}
	}
	return nil
}

// The last commit of 260 partitions with the largest done-sets lands completely, in more than one
// request (D3).
func TestLargeCommit(t *testing.T) {
	t.Parallel()
	w := newWide(t)
	var mu sync.Mutex
	left := widePartitions * (wideInputs - 1)
	stop := w.consume(consumer.Hooks{}, func(list []consumer.Message) {
		mu.Lock()
		defer mu.Unlock()
		for i := range list {
			list[i].Done(nil)
		}
		left -= len(list)
	})
	w.await("all inputs", func() error {
		mu.Lock()
		defer mu.Unlock()
		if left > 0 {
			return fmt.Errorf("%d to go", left)
		}
		return nil
	})
	if w.landed() == nil {
		t.Fatal("committed before the end: this test would show nothing")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := w.landed(); err != nil {
		t.Error(err)
	}
}

// So does the will of a process that had them, which its sidecar commits (D3).
func TestLargeWill(t *testing.T) {
	t.Parallel()
	w := newWide(t)
	sidecar := w.sidecar()
	var (
		mu   sync.Mutex
		gone bool
		open []net.Conn
	)
	app := producer.DialConfig{Target: "unix://" + w.socket(), App: "wide", Logger: w.logger(), Dialer: func(ctx context.Context) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if gone {
			return nil, errors.New("the test has cut it off")
		}
		c, err := new(net.Dialer).DialContext(ctx, "unix", w.socket())
		if err == nil {
			open = append(open, c)
		}
		return c, err
	}, CloseTimeout: time.Second}.New()
	var units sync.WaitGroup // that are not reported
	left := widePartitions * (wideInputs - 1)
	stop := w.consume(consumer.Hooks{Assigned: func(ctx context.Context, m consumer.Membership, added []*consumer.Assignment) {
		var list []producer.Assignment
		for _, a := range added {
			list = append(list, producer.Assignment{Epoch: a.Epoch, Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, LeaderEpoch: a.LeaderEpoch,
				Start: a.Start, DoneSet: a.DoneSet})
		}
		if err := app.Assign(ctx, producer.Membership(m), list); err != nil {
			t.Errorf("Assign: %v", err)
		}
	}}, func(list []consumer.Message) {
		batch := make([]producer.Unit, len(list))
		for i, m := range list { // inputs without outputs: done as soon as the sidecar has them
			batch[i].Source = producer.Source{Epoch: m.Assignment().Epoch, Index: m.Index(), Offset: m.Offset}
		}
		r := producertest.NewRecorder(len(batch))
		if err := app.Deliver(context.Background(), batch, r); err != nil {
			return // cut off, or stopped
		}
		units.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), settle)
			defer cancel()
			if r.Wait(ctx) == nil {
				mu.Lock()
				defer mu.Unlock()
				left -= len(batch)
			}
		})
	})
	w.await("all inputs", func() error {
		mu.Lock()
		defer mu.Unlock()
		if left > 0 {
			return fmt.Errorf("%d to go", left)
		}
		return nil
	})
	if w.landed() == nil {
		t.Fatal("committed before the will: this test would show nothing")
	}
	mu.Lock()
	gone = true
	for _, c := range open {
		_ = c.Close()
	}
	mu.Unlock()
	kafkatest.Eventually(t, 30*time.Second, "the will", func() error {
		if s := w.wills(); s.GetExecuted() != 1 {
			return fmt.Errorf("%s", s)
		}
		return nil
	})
	if s := w.wills(); s.GetComplete() != 1 || s.GetPartitions() != widePartitions {
		t.Errorf("the will: %s", s)
	}
	if err := w.landed(); err != nil {
		t.Error(err)
	}
	_ = stop() // it was put out of its group
	_ = app.Close()
	units.Wait()
	w.terminate(sidecar)
}
