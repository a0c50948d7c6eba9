package consumer

import (
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// metrics are what a consumer tells a meter provider. A nil one, without a provider, does nothing.
// No input costs anything for them: what is counted for State is read when somebody collects.
type metrics struct {
	part       *telemetry.Part
	group      attribute.KeyValue
	topics     *telemetry.Bound[string, *topicCounts]
	places     *telemetry.Bound[telemetry.Place, *placeCounts]
	rebalances telemetry.Tally
	commits    telemetry.Tally
	wills      telemetry.Tally
	took       map[string]*telemetry.Recorder // by outcome of a rebalance
}

// topicCounts are of all assignments of a topic, those that ended included.
type topicCounts struct {
	handedOut, done, inherited, lost atomic.Int64
}

// maxTopics bounds the label, since a regular expression may match any number of topics.
const maxTopics = 1000

// How partitions came to this member, or left it.
const (
	byAssign   = "assigned"
	byRevoking = "revoked"
	byShutdown = "shutdown"
	byLost     = "lost"
)

func newMetrics(cfg *Config) *metrics {
	provider := cfg.MeterProvider
	if cfg.MetricsPerTopic {
		provider = telemetry.WithoutPartitions(provider)
	}
	part := telemetry.New(provider, "consumer")
	if part == nil {
		return nil
	}
	m := &metrics{
		part: part, group: telemetry.Group.String(cfg.Group),
		topics:     telemetry.NewBound(maxTopics, telemetry.Other, func(string) *topicCounts { return &topicCounts{} }),
		places:     telemetry.NewByPartition(func(telemetry.Place) *placeCounts { return &placeCounts{} }),
		rebalances: telemetry.NewTally(byAssign, byRevoking, byShutdown, byLost), commits: telemetry.NewTally(),
		wills: telemetry.NewTally(willComplete, willSuperseded, willElsewhere, willFailed, willLate),
		took:  map[string]*telemetry.Recorder{},
	}
	times := m.part.Histogram(telemetry.RebalanceTime)
	for _, outcome := range []string{byAssign, byRevoking, byShutdown, byLost} {
		m.took[outcome] = times.With(m.group, telemetry.Outcome.String(outcome))
	}
	return m
}

// rebalanced counts a rebalance in which these partitions came or left.
func (m *metrics) rebalanced(outcome string, parts []*partition, took time.Duration) {
	if m != nil {
		m.rebalances.Add(outcome, 1)
		m.took[outcome].Time(took)
		m.moved(parts, took)
	}
}

func (m *metrics) letGo(why error, parts []*partition, took time.Duration) {
	outcome := byRevoking
	if errors.Is(why, ErrShutdown) {
		outcome = byShutdown
	}
	m.rebalanced(outcome, parts, took)
}

// will counts one of a dead process, by how it ended.
func (m *metrics) will(outcome string) {
	if m != nil {
		m.wills.Add(outcome, 1)
	}
}

// committed counts a commit, "" for one that the broker took.
func (m *metrics) committed(err error) {
	switch {
	case m == nil:
	case err == nil:
		m.commits.Add("", 1)
	case errors.Is(err, groupcommit.ErrStale):
		m.commits.Add("STALE", 1)
	default:
		m.commits.Add(telemetry.KafkaError(err, ""), 1)
	}
}

// begin has the metrics read whenever somebody collects, until stop is called.
func (m *metrics) begin(c *Consumer) (stop func()) {
	if m == nil {
		return func() {}
	}
	return m.part.Observe(func(r *telemetry.Reading) { m.read(r, c) },
		telemetry.Consumed, telemetry.Done, telemetry.Inherited, telemetry.Lost, telemetry.LogEnd, telemetry.FetchLag, telemetry.HandleLag,
		telemetry.AckLag, telemetry.CommitLag, telemetry.OldestAge, telemetry.OldestOffset, telemetry.Gap, telemetry.Paused,
		telemetry.Rebalances, telemetry.PartitionRebalances, telemetry.PartitionRebalanceTime, telemetry.DrainOverruns, telemetry.Commits, telemetry.Repeats, telemetry.ConsumerWills, telemetry.CommitBeyond, telemetry.InputSkipped)
}

func (m *metrics) read(r *telemetry.Reading, c *Consumer) {
	now := c.clock.now()
	m.places.Each(func(place telemetry.Place, n *placeCounts) { m.readPlace(r, place, n) })
	for _, p := range c.parts.all() {
		m.readPartition(r, p, now)
	}
	for _, w := range c.group.waiting.errors() {
		r.Partition(w.Topic, w.Partition, m.group, telemetry.Reason.String("waiting")).Count(telemetry.Paused, 1)
	}
	kafka, poll := telemetry.System.String("kafka"), telemetry.Operation.String("poll")
	m.topics.Each(func(topic string, n *topicCounts) {
		name := telemetry.Topic.String(topic)
		set := attribute.NewSet(m.group, name)
		r.Count(telemetry.Consumed, n.handedOut.Load(), attribute.NewSet(kafka, poll, m.group, name))
		r.Count(telemetry.Done, n.done.Load(), set)
		r.Count(telemetry.Inherited, n.inherited.Load(), set)
		r.Count(telemetry.Lost, n.lost.Load(), set)
	})
	m.readTally(r, telemetry.Rebalances, telemetry.Outcome, m.rebalances)
	m.readTally(r, telemetry.Commits, telemetry.ErrorType, m.commits)
	m.readTally(r, telemetry.ConsumerWills, telemetry.Outcome, m.wills)
	group := attribute.NewSet(m.group)
	r.Count(telemetry.CommitBeyond, int64(c.around.watch.Count(sentinel.CommitBeyond)), group)
	r.Count(telemetry.InputSkipped, int64(c.around.watch.Count(sentinel.InputSkipped)), group)
}

func (m *metrics) readTally(r *telemetry.Reading, row *telemetry.Metric, key attribute.Key, t telemetry.Tally) {
	t.Each(func(name string, n *atomic.Uint64) {
		set := []attribute.KeyValue{m.group}
		if name != "" {
			set = append(set, key.String(name))
		}
		r.Count(row, int64(n.Load()), attribute.NewSet(set...))
	})
}

func (m *metrics) readPartition(r *telemetry.Reading, p *partition, now int64) {
	a := p.assignment
	p.mu.Lock()
	m.count(p)
	end, to, handled, n, mark := p.ends.high, p.readTo(), p.firstUnstarted(), p.core.Counts(), p.core.Mark()
	since := int64(0)
	if o := p.oldest(); o != nil {
		since = now - o.run.at
	}
	why := ""
	switch {
	case p.halted != nil:
		why = "halted"
	case p.paused:
		why = "memory"
	case p.unread(now) != nil:
		why = "unread"
	}
	p.mu.Unlock()

	at := r.Partition(a.Topic, a.Partition, m.group)
	if end >= 0 {
		at.Count(telemetry.LogEnd, end)
		at.Count(telemetry.FetchLag, max(0, end-to))
		at.Count(telemetry.HandleLag, max(0, end-handled))
		at.Count(telemetry.AckLag, max(0, end-mark))
		at.Count(telemetry.CommitLag, max(0, end-max(n.Committed, a.Start))) // where it starts is committed before it is read
	}
	at.Time(telemetry.OldestAge, time.Duration(since))
	at.Count(telemetry.OldestOffset, mark) // also when there is no such input: a series that comes and goes has no rate
	at.Count(telemetry.Gap, int64(n.DoneAbove))
	if why != "" {
		r.Partition(a.Topic, a.Partition, m.group, telemetry.Reason.String(why)).Count(telemetry.Paused, 1)
	}
}

// told is what of a partition's counts the topic's have already.
type told struct{ read, done, inherited, lost int64 }

// count adds what is new to the counts of the topic: whenever somebody collects, and when the
// assignment ends. The partition's lock is held.
func (m *metrics) count(p *partition) {
	if m == nil {
		return
	}
	n, before := p.core.Counts(), &p.seen.told
	t := m.topics.Get(p.assignment.Topic)
	t.handedOut.Add(n.Read - before.read)
	t.done.Add(n.Done - before.done)
	t.inherited.Add(n.Inherited - before.inherited)
	t.lost.Add(p.lost - before.lost)
	*before = told{n.Read, n.Done, n.Inherited, p.lost}
}

// ended is told of an assignment before it is fenced. The partition's lock is held.
func (m *metrics) ended(p *partition, why error) {
	if m == nil || p.core.State().Over() {
		return
	}
	m.count(p)
	if errors.Is(why, ErrLost) {
		m.repeat(p.assignment, repeatLost, p.repeats())
	} else {
		m.repeat(p.assignment, repeatUncommitted, p.core.Uncommitted())
	}
}

// firstUnstarted is the first input that no handler has taken, or where the reading is. Like
// firstOpen it looks at each input once. Under mu.
func (p *partition) firstUnstarted() int64 {
	for _, r := range p.hand.runs {
		if r == nil {
			continue
		}
		for r.begun < len(r.states) && atomic.LoadUint32(&r.states[r.begun]) != 0 {
			r.begun++
		}
		if r.begun < len(r.states) {
			return r.Messages[r.begun].offset()
		}
	}
	if len(p.parked.recs) > 0 {
		return p.parked.recs[0].Offset
	}
	return p.core.Next()
}

// repeats is how many inputs would be handled again if the assignment ended now, without a commit.
// Under mu.
func (p *partition) repeats() int64 {
	n := p.core.Uncommitted()
	p.eachRunning(func(*Message) { n++ })
	return n
}
