package producer

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// toldApart is how many topics are told apart in metrics.
const toldApart = 1000

// counts are a producer's metrics. Nil, without a provider, counts nothing: then nothing of it is
// on a record's way.
type counts struct {
	part    *telemetry.Part
	kafka   *telemetry.Kafka
	refused *telemetry.Bound[string, telemetry.Tally] // by topic: one that is only named takes no place of one that is written to
	waited  map[string]*waits
	topics  *telemetry.Bound[string, *topicCounts]
	latency *telemetry.Recorder
	last    atomic.Pointer[topicCounts]
	seen    atomic.Uint64 // units of calls
	open    atomic.Int64  // of them, without a fate
	due     telemetry.Due // calls that tell how long they took
	route   attribute.KeyValue
	app     []attribute.KeyValue // none: it is not known
	stop    func()
}

// topicCounts are what is written to one topic.
type topicCounts struct {
	name             string
	attempted, acked atomic.Uint64
	failed           telemetry.Tally
	latency          *telemetry.Recorder
}

// Reasons why a call of Deliver or Emit waits.
const (
	forBuffer = "buffer" // what this producer may hold is used up
	forCredit = "credit" // what the sidecar lets it have outstanding is, which is less
)

// waits are those of one reason, in calls and in time.
type waits struct{ calls, nanos atomic.Int64 }

// newCounts makes the metrics of a producer whose records go that way, of an app, "" where it is
// not known; more tells what only the producer knows. Somebody may collect at once.
func newCounts(provider metric.MeterProvider, route, app string, more func(*counts, *telemetry.Reading), rows ...*telemetry.Metric) *counts {
	part := telemetry.New(provider, "producer")
	if part == nil {
		return nil
	}
	c := &counts{
		part: part, kafka: part.Kafka(), route: telemetry.Route.String(route),
		waited: map[string]*waits{forBuffer: new(waits), forCredit: new(waits)},
	}
	if app != "" {
		c.app = []attribute.KeyValue{telemetry.App.String(telemetry.AppName(app))}
	}
	c.refused = telemetry.NewBound(toldApart, telemetry.Other, func(string) telemetry.Tally { return telemetry.NewTally() })
	c.latency = part.Histogram(telemetry.Latency)
	c.topics = telemetry.NewBound(toldApart, telemetry.Other, func(topic string) *topicCounts {
		return &topicCounts{name: topic, failed: telemetry.NewTally(), latency: c.latency.With(c.sent(topic, telemetry.OperationType.String("send"))...)}
	})
	rows = append(append([]*telemetry.Metric{
		telemetry.Attempted, telemetry.Sent, telemetry.Outstanding, telemetry.Refused, telemetry.CreditWaits, telemetry.CreditWaited,
	}, telemetry.KafkaRows...), rows...)
	c.stop = part.Observe(func(r *telemetry.Reading) {
		c.tell(r)
		more(c, r)
	}, rows...)
	return c
}

func (c *counts) sent(topic string, more ...attribute.KeyValue) []attribute.KeyValue {
	return append([]attribute.KeyValue{telemetry.System.String("kafka"), telemetry.Operation.String("send"), telemetry.Topic.String(topic), c.route}, append(more, c.app...)...)
}

// set are the attributes of a series.
func (c *counts) set(of ...attribute.KeyValue) attribute.Set {
	return attribute.NewSet(append(of, c.app...)...)
}

func (c *counts) tell(r *telemetry.Reading) {
	c.topics.Each(func(topic string, t *topicCounts) {
		acked, failed := t.acked.Load(), uint64(0)
		t.failed.Each(func(code string, n *atomic.Uint64) {
			failed += n.Load()
			r.Count(telemetry.Sent, int64(n.Load()), attribute.NewSet(c.sent(topic, telemetry.ErrorType.String(code))...))
		})
		attempted := t.attempted.Load() // after its fates: there are never more of these
		r.Count(telemetry.Sent, int64(acked), attribute.NewSet(c.sent(topic)...))
		r.Count(telemetry.Attempted, int64(attempted), c.set(telemetry.Topic.String(topic), c.route))
		r.Count(telemetry.Outstanding, int64(attempted-acked-failed), c.set(c.route, telemetry.Topic.String(topic)))
	})
	c.refused.Each(func(topic string, refused telemetry.Tally) {
		refused.Each(func(code string, n *atomic.Uint64) {
			of := []attribute.KeyValue{telemetry.ErrorType.String(code)}
			if topic != "" {
				of = append(of, telemetry.Topic.String(topic))
			}
			r.Count(telemetry.Refused, int64(n.Load()), c.set(of...))
		})
	})
	for reason, w := range c.waited {
		why := c.set(telemetry.Reason.String(reason))
		r.Count(telemetry.CreditWaits, w.calls.Load(), why)
		r.Time(telemetry.CreditWaited, time.Duration(w.nanos.Load()), why)
	}
	c.kafka.Tell(r)
}

// wait counts a wait that began then.
func (c *counts) wait(reason string, begun time.Time) {
	if c != nil {
		c.waited[reason].calls.Add(1)
		c.waited[reason].nanos.Add(int64(time.Since(begun)))
	}
}

// tellPath tells which way a client's units go, and how often it came to its sidecar. The client
// may just be being made: it has no counts yet.
func (c *client) tellPath(counts *counts, r *telemetry.Reading) {
	c.mu.Lock()
	s, opened, failed := c.fall.usage.stats(time.Now()), c.link.opened, c.link.failed
	topics, bare := c.fall.usage.byTopic(c.books.topics.names)
	c.mu.Unlock()
	active := int64(0)
	if s.Active {
		active = 1
	}
	of := counts.set()
	r.Count(telemetry.FallbackActive, active, of)
	r.Time(telemetry.FallbackTime, s.Time, of)
	r.Count(telemetry.FallbackSwitches, int64(s.Switches), of)
	r.Count(telemetry.FallbackRecords, int64(bare), of)
	for topic, records := range topics {
		r.Count(telemetry.FallbackRecords, int64(records), counts.set(telemetry.Topic.String(topic)))
	}
	r.Count(telemetry.Streams, int64(opened), counts.set(telemetry.Outcome.String("opened")))
	r.Count(telemetry.Streams, int64(failed), counts.set(telemetry.Outcome.String("failed")))
}

var pathRows = []*telemetry.Metric{telemetry.FallbackActive, telemetry.FallbackTime, telemetry.FallbackSwitches, telemetry.FallbackRecords, telemetry.Streams}

// end is called when nothing is counted any more. What was counted is not told any more, either.
func (c *counts) end() {
	if c != nil {
		c.stop()
	}
}

// follow counts a call: what is taken, and the fates of it on their way to the user.
func (c *counts) follow(units []Unit, r Reporter, deliver func(Reporter) error) error {
	if c == nil {
		return deliver(r)
	}
	f := &followed{c: c, units: units, r: r}
	f.survey()
	if c.samples(len(units)) && c.latency.Listens() {
		if now := time.Now(); c.due.At(now) {
			f.begun = now
		}
	}
	err := deliver(f)
	if err != nil {
		c.open.Add(-int64(len(units)))
		c.refuseAll(units, err)
		return err
	}
	f.taken()
	return nil
}

// samples tells whether a call of n units may tell how long it took: the one that has every 64th of
// all units, and one that finds nobody on the way, since who delivers seldom would tell nothing
// else.
func (c *counts) samples(n int) bool {
	seen := c.seen.Add(uint64(n))
	return c.open.Add(int64(n)) == int64(n) || seen/telemetry.Every != (seen-uint64(n))/telemetry.Every
}

// of are the counts of a topic: mostly the one that was asked for last.
func (c *counts) of(topic string) *topicCounts {
	if t := c.last.Load(); t != nil && t.name == topic {
		return t
	}
	t := c.topics.Get(topic)
	c.last.Store(t)
	return t
}

// refuseAll counts the records of a call that was not taken, those of one topic at a time.
func (c *counts) refuseAll(units []Unit, err error) {
	name, run := "", 0
	for i := range units {
		for j := range units[i].Outputs {
			if topic := units[i].Outputs[j].Topic; topic != name {
				c.refuse(name, run, err)
				name, run = topic, 0
			}
			run++
		}
	}
	c.refuse(name, run, err)
}

func (c *counts) refuse(topic string, records int, err error) {
	if records > 0 {
		c.refused.Get(telemetry.TopicName(topic)).Add(codeOf(err), records)
	}
}

// codeOf is an error's label. One without a code is a failure all the same.
func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return telemetry.OtherError
}

// followed is the Reporter of a call that is counted. A unit's records are read before its fate is
// told: after that they are the caller's.
type followed struct {
	c      *counts
	units  []Unit
	r      Reporter
	begun  time.Time   // zero: it does not tell how long it took
	due    int         // records until the next that tells it; the Reporter's
	counts atomic.Bool // what was taken is counted

	// Most calls have as many records a unit, all to one topic: they are not walked again.
	same  bool
	topic string
	each  int
}

// survey looks whether all units are alike.
func (f *followed) survey() {
	for i := range f.units {
		outs := f.units[i].Outputs
		if len(outs) == 0 || i > 0 && len(outs) != f.each {
			return
		}
		if i == 0 {
			f.topic, f.each = outs[0].Topic, len(outs)
		}
		for j := range outs {
			if !isSame(outs[j].Topic, f.topic) {
				return
			}
		}
	}
	f.same = len(f.units) > 0
}

// isSame compares names that are mostly one string, without a call.
func isSame(a, b string) bool {
	return len(a) == len(b) && (unsafe.StringData(a) == unsafe.StringData(b) || a == b)
}

// taken counts the call, once: before its first fate, or when it was taken.
func (f *followed) taken() {
	if f.counts.Load() || !f.counts.CompareAndSwap(false, true) {
		return
	}
	f.records(0, len(f.units), func(t *topicCounts, n int) { t.attempted.Add(uint64(n)) })
}

// records calls fn with the records of some units, those of one topic at a time.
func (f *followed) records(first, n int, fn func(t *topicCounts, n int)) {
	if f.same {
		fn(f.c.of(f.topic), n*f.each)
		return
	}
	name, run := "", 0
	for i := first; i < first+n; i++ {
		for j := range f.units[i].Outputs {
			if topic := f.units[i].Outputs[j].Topic; topic != name {
				if run > 0 {
					fn(f.c.of(name), run)
				}
				name, run = topic, 0
			}
			run++
		}
	}
	if run > 0 {
		fn(f.c.of(name), run)
	}
}

// Acked implements Reporter. Of a call that tells how long it took, one of 64 records does.
func (f *followed) Acked(first, n int) {
	f.taken()
	f.records(first, n, func(t *topicCounts, n int) {
		t.acked.Add(uint64(n))
		if f.begun.IsZero() {
			return
		}
		for ; f.due < n; f.due += telemetry.Every {
			t.latency.Time(time.Since(f.begun))
		}
		f.due -= n
	})
	f.c.open.Add(-int64(n))
	f.r.Acked(first, n)
}

// Failed implements Reporter.
func (f *followed) Failed(unit int, err *Error) {
	f.taken()
	f.records(unit, 1, func(t *topicCounts, n int) { t.failed.Add(err.Code, n) })
	f.c.open.Add(-1)
	f.r.Failed(unit, err)
}

// emit counts one record in the same way: its topic is looked at when the record is taken, as
// before nobody has.
func (c *counts) emit(topic string, fn func(Ack, error), emit func(func(Ack, error)) error) error {
	if c == nil {
		return emit(fn)
	}
	begun := time.Now()
	taken := sync.OnceValue(func() *topicCounts {
		t := c.topics.Get(topic)
		t.attempted.Add(1)
		return t
	})
	err := emit(func(a Ack, err error) {
		t := taken()
		if err != nil {
			t.failed.Add(codeOf(err), 1)
		} else {
			t.acked.Add(1)
			t.latency.Time(time.Since(begun))
		}
		fn(a, err)
	})
	if err != nil {
		c.refuse(topic, 1, err)
		return err
	}
	taken()
	return nil
}
