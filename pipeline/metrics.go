package pipeline

import (
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// metrics are what a pipeline tells a meter provider, beside its consumer. A nil one, without a
// provider, does nothing. What State counts is read when somebody collects.
type metrics struct {
	part   *telemetry.Part
	group  attribute.KeyValue
	topics *telemetry.Bound[string, *topicCounts] // by input topic
	// redelivered are inputs whose outputs were delivered again, of partitions that were assigned.
	redelivered *telemetry.Bound[telemetry.Place, *atomic.Int64]
}

// topicCounts are of one input topic.
type topicCounts struct {
	retries atomic.Int64
	letters telemetry.Tally // by the kind of error that the input was rejected for
	took    *telemetry.Bound[string, *telemetry.Recorder]
}

const (
	maxTopics     = 1000
	maxErrorKinds = 30 // of a topic's handlers that are told apart in a histogram
)

func newMetrics(cfg *Config, group string) *metrics {
	provider := cfg.MeterProvider
	if cfg.Consumer.MetricsPerTopic {
		provider = telemetry.WithoutPartitions(provider)
	}
	part := telemetry.New(provider, "pipeline")
	if part == nil {
		return nil
	}
	m := &metrics{part: part, group: telemetry.Group.String(group)}
	m.redelivered = telemetry.NewByPartition(func(telemetry.Place) *atomic.Int64 { return new(atomic.Int64) })
	times := m.part.Histogram(telemetry.ProcessTime)
	m.topics = telemetry.NewBound(maxTopics, telemetry.Other, func(topic string) *topicCounts {
		of := []attribute.KeyValue{telemetry.System.String("kafka"), telemetry.Operation.String("process"), m.group, telemetry.Topic.String(topic)}
		return &topicCounts{letters: telemetry.NewTally(), took: telemetry.NewBound(maxErrorKinds, telemetry.OtherError, func(kind string) *telemetry.Recorder {
			if kind == "" {
				return times.With(of...)
			}
			return times.With(append(of[:len(of):len(of)], telemetry.ErrorType.String(kind))...)
		})}
	})
	return m
}

func (m *metrics) retry(in *consumer.Message) {
	if m != nil {
		m.topics.Get(in.Original().Topic).retries.Add(1)
	}
}

func (m *metrics) letter(in *consumer.Message, r *rejection) {
	if m != nil {
		m.topics.Get(in.Original().Topic).letters.Add(r.kind(), 1)
	}
}

func (m *metrics) redeliver(a *consumer.Assignment, units int) {
	if m != nil {
		m.redelivered.Get(m.part.PlaceOf(a.Topic, a.Partition)).Add(int64(units))
	}
}

// assigned has what may happen to these partitions told as 0, so that its first time has a rate.
func (m *metrics) assigned(added []*consumer.Assignment) {
	for _, a := range added {
		m.redeliver(a, 0)
	}
}

// begin has the metrics read whenever somebody collects, until stop is called.
func (m *metrics) begin(p *Pipeline) (stop func()) {
	if m == nil {
		return func() {}
	}
	return m.part.Observe(func(r *telemetry.Reading) { m.read(r, p) },
		telemetry.Handled, telemetry.HandlerRetries, telemetry.HandlerTimeouts, telemetry.HandlerLetters, telemetry.Halted, telemetry.Repeats,
		telemetry.Lanes, telemetry.LanesBusy, telemetry.Queued, telemetry.Finished, telemetry.CommitBeyond, telemetry.OrderBroken)
}

func (m *metrics) read(r *telemetry.Reading, p *Pipeline) {
	group := attribute.NewSet(m.group)
	n := &p.counts
	for outcome, count := range map[string]int64{
		"acknowledged": n.acked.Load(), "dead_letter": n.deadLetters.Load(), "rejected": n.rejected.Load(),
		"dropped": n.dropped.Load(), "undelivered": n.undelivered.Load(),
	} {
		r.Count(telemetry.Handled, count, attribute.NewSet(m.group, telemetry.Outcome.String(outcome)))
	}
	r.Count(telemetry.HandlerTimeouts, n.timeouts.Load(), group)
	m.topics.Each(func(topic string, t *topicCounts) {
		name := telemetry.Topic.String(topic)
		r.Count(telemetry.HandlerRetries, t.retries.Load(), attribute.NewSet(m.group, name))
		t.letters.Each(func(kind string, n *atomic.Uint64) {
			r.Count(telemetry.HandlerLetters, int64(n.Load()), attribute.NewSet(m.group, name, telemetry.ErrorType.String(kind)))
		})
	})
	m.redelivered.Each(func(place telemetry.Place, n *atomic.Int64) {
		r.Place(place, m.group, telemetry.Reason.String("redelivered")).Count(telemetry.Repeats, n.Load())
	})
	busy, queued, finished := p.laneCounts()
	r.Count(telemetry.Lanes, int64(len(p.lanes)), group)
	r.Count(telemetry.LanesBusy, int64(busy), group)
	r.Count(telemetry.Queued, int64(queued), group)
	r.Count(telemetry.Finished, int64(finished), group)
	r.Count(telemetry.Halted, int64(p.halts.count()), group)
	r.Count(telemetry.CommitBeyond, int64(p.sentinels.watch.Count(sentinel.CommitBeyond)), group)
	r.Count(telemetry.OrderBroken, int64(p.sentinels.watch.Count(sentinel.OrderInverted)), group)
}

// handlerTimes measures some inputs of a lane: the first of each chunk, and one in telemetry.Every,
// as far as they are due. It belongs to the lane's goroutine; nil: nothing is measured.
type handlerTimes struct {
	m      *metrics
	n      int // inputs of the chunk
	topic  string
	of     *topicCounts
	passed *telemetry.Recorder // of those without an error
	due    telemetry.Due
}

func (m *metrics) handlerTimes() *handlerTimes {
	if m == nil {
		return nil
	}
	return &handlerTimes{m: m}
}

// next counts an input of the chunk, and tells whether it is one of those that may be measured.
func (t *handlerTimes) next() bool {
	n := t.n
	t.n++
	return n%telemetry.Every == 0
}

// enter begins with the inputs of a chunk.
func (t *handlerTimes) enter(topic string) {
	if t == nil {
		return
	}
	t.n = 0
	if t.of == nil || t.topic != topic {
		t.topic, t.of = topic, t.m.topics.Get(topic)
		t.passed = t.of.took.Get("")
	}
}

// took records how long an input's handler took, with its retries and their pauses.
func (t *handlerTimes) took(d time.Duration, r outcome) {
	switch r.kind {
	case delivers:
		t.passed.Time(d)
	case rejected, stops:
		t.of.took.Get(r.rejection.kind()).Time(d)
	}
}

// batchTook records a call of a batch handler.
func (t *handlerTimes) batchTook(d time.Duration, err error) {
	switch {
	case t == nil:
	case err == nil:
		t.passed.Time(d)
	default:
		t.of.took.Get(kindOf(err)).Time(d)
	}
}
