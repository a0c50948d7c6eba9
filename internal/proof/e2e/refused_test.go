package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// verdicts is a producer on real brokers, and what became of each record.
type verdicts struct {
	*testing.T
	kafka *kafkatest.Cluster
	p     producer.Producer

	mu    sync.Mutex
	fates map[string]error
	open  sync.WaitGroup
}

// bothWays runs a test with the process's own producer and through a sidecar.
func bothWays(t *testing.T, test func(v *verdicts)) {
	t.Helper()
	kafka := brokers(t)
	for name, open := range map[string]func(t *testing.T) producer.Producer{
		"direct": func(*testing.T) producer.Producer {
			return producer.Direct(producer.DirectConfig{Brokers: kafka.Addrs(), Options: []kgo.Opt{kgo.ProducerLinger(20 * time.Millisecond)}})
		},
		"sidecar": func(t *testing.T) producer.Producer {
			sc := sidecartest.Start(t, kafka.Addrs(), func(c *sidecar.Config) { c.Linger = 20 * time.Millisecond })
			return producer.Dial(sc.Target)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := &verdicts{T: t, kafka: kafka, p: open(t), fates: map[string]error{}}
			t.Cleanup(func() { _ = v.p.Close() })
			test(v)
		})
	}
}

func (v *verdicts) emit(rec producer.Record) {
	name := nameOf(rec.Value)
	v.open.Add(1)
	v.p.EmitAsync(rec, func(_ producer.Ack, err error) {
		defer v.open.Done()
		v.mu.Lock()
		defer v.mu.Unlock()
		v.fates[name] = err
	})
}

func nameOf(value []byte) string { return string(value[:min(len(value), 5)]) }

// mustBe checks that those that are named were refused with this error, and that all others are in
// the topic once, in their order.
func (v *verdicts) mustBe(topic string, refused map[string]error) {
	v.Helper()
	v.open.Wait()
	var want []string
	for name, err := range v.fates {
		switch code := refused[name]; {
		case code == nil && err == nil:
			want = append(want, name)
		case code == nil || !errors.Is(err, code):
			v.Errorf("%s: %v, want %v", name, err, code)
		}
	}
	slices.Sort(want)
	cl := v.kafka.Client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(v.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for len(got) < len(want) && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if name := nameOf(r.Value); name != nameOf(trial) {
				got = append(got, name)
			}
		})
	}
	if !slices.Equal(got, want) {
		v.Errorf("%d records in the topic, want %d in their order: %.200v", len(got), len(want), got)
	}
}

// trial is how records begin that the test itself writes.
var trial = []byte("trial")

// takes waits until the topic's leader takes a record of so many bytes: a setting is told one
// broker, and the others hear of it in their own time.
func (v *verdicts) takes(topic string, size int) {
	v.Helper()
	cl := v.kafka.Client(kgo.DefaultProduceTopic(topic))
	defer cl.Close()
	value := noisy(0, size)
	copy(value, trial)
	kafkatest.Eventually(v.T, 30*time.Second, "the topic's leader to have heard of its limit", func() error {
		return cl.ProduceSync(v.Context(), &kgo.Record{Value: value}).FirstErr()
	})
}

// number makes values that sort by their number.
func number(n int) []byte { return fmt.Appendf(nil, "%05d", n) }

func noisy(n, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	copy(b, number(n))
	return b
}

// A1: one null key for a compacted topic among 200 records. A2: one date too far ahead.
func TestRefusedRecordAlone(t *testing.T) {
	for name, c := range map[string]struct {
		configs map[string]string
		spoil   func(*producer.Record)
		code    error
	}{
		"null key":         {map[string]string{"cleanup.policy": "compact"}, func(r *producer.Record) { r.Key = nil }, kerr.InvalidRecord},
		"date too far":     {map[string]string{"message.timestamp.after.max.ms": "3600000"}, func(r *producer.Record) { r.Timestamp = time.Now().Add(3 * time.Hour) }, kerr.InvalidTimestamp},
		"does not fit":     {map[string]string{"max.message.bytes": "100000"}, func(r *producer.Record) { r.Value = noisy(77, 300_000) }, kerr.MessageTooLarge},
		"fits when zipped": {map[string]string{"max.message.bytes": "100000"}, func(r *producer.Record) { r.Value = append(number(77), make([]byte, 700_000)...) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if v := brokers(t).Version(); c.configs["message.timestamp.after.max.ms"] != "" && !kafkatest.AtLeast(v, 3, 6) {
				t.Skipf("this system has no limit for dates in the future: Kafka %s, it is there from 3.6 on", v)
			}
			bothWays(t, func(v *verdicts) {
				topic := v.kafka.CreateTopic("refused", 1, c.configs)
				for n := range 200 {
					r := producer.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", n), Value: number(n)}
					if n == 77 {
						c.spoil(&r)
					}
					v.emit(r)
				}
				refused := map[string]error{}
				if c.code != nil {
					refused["00077"] = c.code
				}
				v.mustBe(topic, refused)
			})
		})
	}
}

// A3: what one app of a sidecar sends wrong is not another's trouble, though it is in the same
// batches.
func TestOneAppsInvalidRecords(t *testing.T) {
	t.Parallel()
	kafka := brokers(t)
	topic := kafka.CreateTopic("refused", 1, map[string]string{"cleanup.policy": "compact"})
	sc := sidecartest.Start(t, kafka.Addrs(), func(c *sidecar.Config) { c.Linger = 20 * time.Millisecond })
	var apps sync.WaitGroup
	var mu sync.Mutex
	failed := map[string]int{}
	for _, app := range []string{"good", "bad"} {
		p := producer.DialConfig{Target: sc.Target, App: app}.New()
		defer p.Close()
		apps.Go(func() {
			var open sync.WaitGroup
			for n := range 300 {
				r := producer.Record{Topic: topic, Key: fmt.Appendf(nil, "%s%d", app, n), Value: number(n)}
				if app == "bad" && n%10 == 0 {
					r.Key = nil
				}
				open.Add(1)
				p.EmitAsync(r, func(_ producer.Ack, err error) {
					defer open.Done()
					if err != nil {
						mu.Lock()
						failed[app]++
						mu.Unlock()
					}
				})
			}
			open.Wait()
		})
	}
	apps.Wait()
	if failed["good"] != 0 || failed["bad"] != 30 {
		t.Errorf("refused: %v, want none of good's and 30 of bad's", failed)
	}
}

// A4: 400 records of 1,000 bytes for a topic that takes 16 KiB at once. A5 and A6: the limit is
// lowered and raised while they run.
func TestLimitOfTheTopic(t *testing.T) {
	t.Parallel()
	bothWays(t, func(v *verdicts) {
		topic := v.kafka.CreateTopic("refused", 1, map[string]string{"max.message.bytes": "16384"})
		n := 0
		send := func(count, size int) {
			for range count {
				v.emit(producer.Record{Topic: topic, Key: []byte("k"), Value: noisy(n, size)})
				n++
			}
			v.open.Wait()
		}
		limit := func(bytes string) {
			_, err := v.kafka.Admin().AlterTopicConfigs(v.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &bytes}}, topic)
			if err != nil {
				v.Fatal(err)
			}
		}
		send(400, 1000)
		limit("1000000")
		v.takes(topic, 200_000)
		send(1, 100_000)
		send(50, 1000)
		limit("4000")
		send(300, 1000)
		v.mustBe(topic, nil)
	})
}

// A7: the output topic is deleted and created anew while records for it come in.
func TestOutputTopicCreatedAnew(t *testing.T) {
	t.Parallel()
	bothWays(t, func(v *verdicts) {
		topic := v.kafka.CreateTopic("anew", 1, nil)
		emit := func(from, to int) {
			for n := from; n < to; n++ {
				v.emit(producer.Record{Topic: topic, Key: []byte("k"), Value: number(n)})
			}
		}
		emit(0, 50)
		v.open.Wait()
		if _, err := v.kafka.Admin().DeleteTopics(v.Context(), topic); err != nil {
			v.Fatal(err)
		}
		emit(50, 100)
		for { // Kafka deletes in its own time
			if _, err := v.kafka.Admin().CreateTopic(v.Context(), 1, 3, nil, topic); err == nil {
				break
			} else if !errors.Is(err, kerr.TopicAlreadyExists) {
				v.Fatal(err)
			}
		}
		emit(100, 150)
		v.open.Wait()
		emit(150, 200)
		v.open.Wait()
		for name, err := range v.fates {
			if err != nil {
				v.Errorf("%s: %v", name, err)
			}
		}
	})
}
