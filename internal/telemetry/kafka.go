package telemetry

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.opentelemetry.io/otel/attribute"
)

// So many are told apart.
const (
	maxBrokers = 500
	maxTopics  = 1000
)

// Kafka follows a Kafka client, as its hooks: connections, produce requests, batches. It is made
// only where somebody may collect.
type Kafka struct {
	brokers  *Bound[string, *broker]
	requests atomic.Uint64
	retried  *Bound[string, Tally]     // by topic
	batches  *Bound[string, *Recorder] // by topic
	took     *Recorder
}

type broker struct {
	open             atomic.Int64
	connects, failed atomic.Uint64
	took             *Recorder
}

var (
	_ kgo.HookBrokerConnect       = (*Kafka)(nil)
	_ kgo.HookBrokerDisconnect    = (*Kafka)(nil)
	_ kgo.HookBrokerE2E           = (*Kafka)(nil)
	_ kgo.HookBrokerWrite         = (*Kafka)(nil)
	_ kgo.HookProduceBatchWritten = (*Kafka)(nil)
)

// Kafka makes the hooks of a part's client. Those of a nil part are nil.
func (p *Part) Kafka() *Kafka {
	if p == nil {
		return nil
	}
	k := &Kafka{took: p.Histogram(RequestTime)}
	k.retried = NewBound(maxTopics, Other, func(string) Tally { return NewTally() })
	sizes := p.Histogram(BatchSize)
	k.batches = NewBound(maxTopics, Other, func(topic string) *Recorder { return sizes.With(Topic.String(topic)) })
	k.brokers = NewBound(maxBrokers, Other, func(node string) *broker {
		return &broker{took: k.took.With(Broker.String(node))}
	})
	return k
}

// Hooks are what a client is given: none of nil. Who gives them calls [Kafka.Retried], too.
func (k *Kafka) Hooks() []kgo.Opt {
	if k == nil {
		return nil
	}
	return []kgo.Opt{kgo.WithHooks(k)}
}

func (k *Kafka) of(m kgo.BrokerMetadata) *broker { return k.brokers.Get(kgo.NodeName(m.NodeID)) }

// OnBrokerConnect counts connections. One that was open and then refused (SASL, versions) is told
// here with its error, and told to OnBrokerDisconnect, too: before.
func (k *Kafka) OnBrokerConnect(m kgo.BrokerMetadata, _ time.Duration, conn net.Conn, err error) {
	b := k.of(m)
	b.connects.Add(1)
	if err != nil {
		b.failed.Add(1)
	}
	if conn != nil {
		b.open.Add(1)
	}
}

// OnBrokerDisconnect counts connections.
func (k *Kafka) OnBrokerDisconnect(m kgo.BrokerMetadata, _ net.Conn) { k.of(m).open.Add(-1) }

// OnBrokerWrite counts produce requests.
func (k *Kafka) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.Produce) && err == nil {
		k.requests.Add(1)
	}
}

// OnBrokerE2E times produce requests.
func (k *Kafka) OnBrokerE2E(m kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == int16(kmsg.Produce) && e2e.Err() == nil {
		k.of(m).took.Time(e2e.DurationE2E())
	}
}

// OnProduceBatchWritten tells the size of a batch.
func (k *Kafka) OnProduceBatchWritten(_ kgo.BrokerMetadata, topic string, _ int32, m kgo.ProduceBatchMetrics) {
	k.batches.Get(topic).Number(m.NumRecords)
}

// Retried counts a batch that is sent again, by why; "" is a topic that nobody knows.
func (k *Kafka) Retried(topic string, err error) {
	if k == nil {
		return
	}
	name := ""
	var broken net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return // the client is being closed
	case errors.As(err, &broken), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		name = kerr.NetworkException.Message
	}
	k.retried.Get(topic).Add(KafkaError(err, name), 1)
}

// KafkaRows are what Tell tells.
var KafkaRows = []*Metric{Connections, Connects, Requests, Retried}

// Tell tells what was counted.
func (k *Kafka) Tell(r *Reading) {
	if k == nil {
		return
	}
	r.Count(Requests, int64(k.requests.Load()), attribute.NewSet())
	k.retried.Each(func(topic string, t Tally) {
		t.Each(func(name string, n *atomic.Uint64) {
			of := []attribute.KeyValue{ErrorType.String(name)}
			if topic != "" {
				of = append(of, Topic.String(topic))
			}
			r.Count(Retried, int64(n.Load()), attribute.NewSet(of...))
		})
	})
	k.brokers.Each(func(node string, b *broker) {
		of, failed := Broker.String(node), b.failed.Load()
		r.Count(Connections, max(b.open.Load(), 0), attribute.NewSet(of))
		r.Count(Connects, int64(b.connects.Load()-failed), attribute.NewSet(of, Outcome.String("connected")))
		r.Count(Connects, int64(failed), attribute.NewSet(of, Outcome.String("failed")))
	})
}
