// Package flows counts what each app writes to each topic, and what it was refused, for the metrics
// of a sidecar. Apps and topics are told apart as long as there are few: both names come from
// peers, and what a metric's label may be has to be bounded.
package flows

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/recent"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	// MaxApps are told apart, and MaxFlows of all apps together, of which one app has at most
	// maxTopics: what comes later is counted as [telemetry.Other].
	MaxApps   = 200
	MaxFlows  = 2000
	maxTopics = 200
	// maxCodes of a flow's letters are told apart: an app writes them.
	maxCodes = 8
)

// Flow is what one app writes to one topic.
type Flow struct {
	name      name
	Attempted atomic.Uint64
	Acked     atomic.Uint64
	Retried   atomic.Uint64   // acknowledged at a second try, or later
	Known     atomic.Uint64   // acknowledged before, and sent again
	Dropped   atomic.Uint64   // their session ended before Kafka's client had them
	Failed    telemetry.Tally // by Kafka's error name
	Letters   telemetry.Tally // acknowledged dead letters, by what their headers say

	latency *telemetry.Recorder
	wait    *telemetry.Recorder
	due     telemetry.Due  // emits that tell how long they took
	recent  *recent.Window // of all flows
}

type name struct{ app, topic string }

// App is what one app was refused, and waited for, and its sessions.
type App struct {
	Waits      [waits]Wait
	Unfollowed atomic.Uint64 // inputs that there was no room to follow
	Sessions

	name    string
	flows   *Flows
	known   atomic.Int32 // topics
	refused atomic.Int32 // topics of its refusals
}

// refusals are records of one app to one topic that were not taken.
type refusals struct {
	byCode     telemetry.Tally
	retryAfter atomic.Uint64
}

// Wait counts waits of one kind.
type Wait struct {
	Count atomic.Uint64
	Nanos atomic.Int64
}

// Reason is what a session waits for.
type Reason int

const (
	// ForSession, ForApp and ForAll is memory that the session, its app or all may hold.
	ForSession Reason = iota
	ForApp
	ForAll
	// ForPartition is a partition whose queue is full.
	ForPartition
	waits
)

func (r Reason) String() string {
	return [...]string{"session_limit", "app_limit", "sidecar_limit", "partition_full"}[r]
}

// Name is the app's label: its name, or that of all that are not told apart.
func (a *App) Name() string { return a.name }

// Waited counts a wait that began then.
func (a *App) Waited(r Reason, begun time.Time) {
	a.Waits[r].Count.Add(1)
	a.Waits[r].Nanos.Add(int64(time.Since(begun)))
}

// Refuse counts a record that was not taken, to a topic that need not exist; "" is not known.
func (a *App) Refuse(topic string, why *sidecarpb.Error) {
	r := a.flows.refusals(a, topic)
	r.byCode.Add(why.GetCode(), 1)
	if why.GetRetryAfterMs() > 0 {
		r.retryAfter.Add(1)
	}
}

// Flows are all of a sidecar.
type Flows struct {
	apps    *telemetry.Bound[string, *App]
	flows   *telemetry.Bound[name, *Flow]
	refused *telemetry.Bound[name, *refusals]
	latency *telemetry.Recorder
	wait    *telemetry.Recorder
	recent  recent.Window
}

// New counts nothing yet. The part may be nil: then durations are not recorded.
func New(part *telemetry.Part) *Flows {
	f := &Flows{latency: part.Histogram(telemetry.Latency), wait: part.Histogram(telemetry.QueueWait)}
	f.refused = telemetry.NewBound(MaxFlows, name{telemetry.Other, telemetry.Other}, func(name) *refusals {
		return &refusals{byCode: telemetry.NewTally()}
	})
	f.apps = telemetry.NewBound(MaxApps, telemetry.Other, func(app string) *App {
		f.refused.Get(name{app, ""}) // told as 0 before it happens
		return &App{name: app, flows: f, Sessions: newSessions()}
	})
	f.flows = telemetry.NewBound(MaxFlows, name{telemetry.Other, telemetry.Other}, f.newFlow)
	return f
}

func (f *Flows) newFlow(n name) *Flow {
	of := []attribute.KeyValue{telemetry.App.String(n.app), telemetry.Topic.String(n.topic)}
	return &Flow{
		name: n, Failed: telemetry.NewTally(), Letters: telemetry.NewTallyOf(maxCodes),
		recent:  &f.recent,
		latency: f.latency.With(append(append(sending(), telemetry.OperationType.String("send")), of...)...),
		wait:    f.wait.With(of...),
	}
}

// App returns what is counted of an app.
func (f *Flows) App(app string) *App { return f.apps.Get(app) }

// Of returns what is counted of an app's records to a topic.
func (f *Flows) Of(a *App, topic string) *Flow {
	n := name{a.name, topic}
	if flow, ok := f.flows.Find(n); ok {
		return flow
	}
	if a.known.Add(1) > maxTopics {
		a.known.Add(-1)
		n.topic = telemetry.Other
	}
	return f.flows.Get(n)
}

// refusals are those of an app's records to a topic, whose name is a peer's.
func (f *Flows) refusals(a *App, topic string) *refusals {
	n := name{a.name, telemetry.TopicName(topic)}
	if r, ok := f.refused.Find(n); ok {
		return r
	}
	if n.topic != "" && n.topic != telemetry.Other && a.refused.Add(1) > maxTopics {
		a.refused.Add(-1)
		n.topic = telemetry.Other
	}
	n.topic = strings.Clone(n.topic) // or what is kept is the message that it stands in
	return f.refused.Get(n)
}

// Ack counts a record. A few of each batch, those that are sampled, tell how long it took.
func (f *Flow) Ack(headers []kgo.RecordHeader) {
	f.Acked.Add(1)
	if len(headers) > 0 {
		f.letter(headers)
	}
}

// Due tells whether how long an emit takes is recorded: that is decided when it comes, or those of
// a burst after a stall would be as few as those of any other moment.
func (f *Flow) Due(now time.Time) bool { return f.latency != nil && f.due.At(now) }

// Queued tells how long a record waited for room, since its message came.
func (f *Flow) Queued(since time.Time) {
	if f.wait != nil {
		f.wait.Time(time.Since(since))
	}
}

// Took tells how long a sampled record was on its way; timed: in the histogram, too.
func (f *Flow) Took(since time.Time, timed bool) {
	now := time.Now()
	took := now.Sub(since)
	if timed && f.latency != nil {
		f.latency.Time(took)
	}
	f.recent.Add(now, took, 1)
}

// Latency is how long the records of the last while were on their way.
func (f *Flows) Latency(now time.Time) *podstate.Latency { return podstate.LatencyOf(&f.recent, now) }

// Acked is how many records were acknowledged.
func (f *Flows) Acked() (n uint64) {
	f.flows.Each(func(_ name, flow *Flow) { n += flow.Acked.Load() })
	return n
}
