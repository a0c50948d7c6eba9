// Package baseline measures what a change of producers is to change: connections, produce requests,
// batch sizes, the latency of an emit, and what brokers need for it. `ackmark baseline` records it
// before and after. A figure that could not be measured is none, and says why; it is never 0.
package baseline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Figure is a measured number, or why there is none.
type Figure struct {
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	From   string  `json:"from,omitempty"`   // what it was read from
	Reason string  `json:"reason,omitempty"` // why it was not measured; Value means nothing then
}

// Measured tells whether there is a number.
func (f Figure) Measured() bool { return f.Reason == "" }

func measured(v float64, unit, from string) Figure { return Figure{Value: v, Unit: unit, From: from} }

func missing(unit, reason string) Figure { return Figure{Unit: unit, Reason: reason} }

// Broker is what one broker did in the window.
type Broker struct {
	Name        string `json:"name"`
	Connections Figure `json:"connections"`
	Produce     Figure `json:"produce_requests"`
	CPU         Figure `json:"cpu"`
	Heap        Figure `json:"heap"`
	GC          Figure `json:"gc"`
}

// Record is one measurement.
type Record struct {
	Format  int       `json:"format"` // 1
	Name    string    `json:"name,omitempty"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"` // how long the window was
	Machine string    `json:"machine"`
	Brokers []Broker  `json:"brokers"`
	// Of the sidecars that were asked, together.
	Sidecars Sidecars `json:"sidecars"`
	// Of the probe, or of the apps' metrics.
	Latency Latency `json:"latency"`
}

// Sidecars is what the sidecars that were asked did.
type Sidecars struct {
	Asked       int    `json:"asked"`
	Connections Figure `json:"broker_connections"`
	Produce     Figure `json:"produce_requests"`
	Records     Figure `json:"records"`
	Batch       Figure `json:"records_per_request"`
}

// Latency is how long emits took from the attempt to the acknowledgement.
type Latency struct {
	P50 Figure `json:"p50"`
	P95 Figure `json:"p95"`
	P99 Figure `json:"p99"`
}

// Options say what is measured, and how.
type Options struct {
	Name     string
	Window   time.Duration
	Brokers  []BrokerSource
	Sidecars []SidecarSource
	Latency  LatencySource // nil: not measured
}

// BrokerSource is a broker that can be looked at. Its readings have the names of reading.
type BrokerSource interface {
	Name() string
	Read(ctx context.Context) (Reading, error)
}

// Reading is a broker at one moment. What is nil could not be read; Why says why, by the same name.
type Reading struct {
	From        string
	Connections *float64
	Produce     *float64 // requests since its start
	CPU         *float64 // seconds since its start
	Heap        *float64 // bytes in use
	GC          *float64 // seconds since its start
	Why         string   // why some of them are not there
}

// SidecarSource is a sidecar that can be asked.
type SidecarSource interface {
	Counts(ctx context.Context) (Counts, error)
}

// Counts are a sidecar's, since its start.
type Counts struct {
	ID                            string // another one: it was started anew
	Connections, Produce, Records uint64
}

// LatencySource measures emits until the context ends.
type LatencySource interface {
	Measure(ctx context.Context) (Latency, error)
}

// NotMeasured is the latency without a source.
func NotMeasured(reason string) Latency {
	m := missing("ms", reason)
	return Latency{m, m, m}
}

// Take measures for the window.
func Take(ctx context.Context, o Options, machine string) (*Record, error) {
	r := &Record{Format: 1, Name: o.Name, At: time.Now().UTC(), Machine: machine}
	first := readAll(ctx, o)
	begin := time.Now()
	window, end := context.WithTimeout(ctx, o.Window)
	defer end()
	if o.Latency == nil {
		r.Latency = NotMeasured("no --probe and no --app-metrics")
		<-window.Done()
	} else if l, err := o.Latency.Measure(window); err != nil {
		r.Latency = NotMeasured(err.Error())
		<-window.Done()
	} else {
		<-window.Done()
		r.Latency = l
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	r.Seconds = time.Since(begin).Seconds()
	last := readAll(ctx, o)
	for i, b := range o.Brokers {
		r.Brokers = append(r.Brokers, compareReadings(b.Name(), first.brokers[i], last.brokers[i]))
	}
	r.Sidecars = compareCounts(first.sidecars, last.sidecars)
	return r, nil
}

// outcome is what a source said, and when it was asked: rates are by that, not by the window, since
// a source may be slow to answer.
type outcome[T any] struct {
	value T
	err   error
	at    time.Time
}

// askTimeout is how long a source has to answer.
const askTimeout = 10 * time.Second

func ask[T any](ctx context.Context, read func(context.Context) (T, error)) outcome[T] {
	ctx, end := context.WithTimeout(ctx, askTimeout)
	defer end()
	at := time.Now()
	v, err := read(ctx)
	return outcome[T]{v, err, at}
}

type readings struct {
	brokers  []outcome[Reading]
	sidecars []outcome[Counts]
}

func readAll(ctx context.Context, o Options) (all readings) {
	for _, b := range o.Brokers {
		all.brokers = append(all.brokers, ask(ctx, b.Read))
	}
	for _, s := range o.Sidecars {
		all.sidecars = append(all.sidecars, ask(ctx, s.Counts))
	}
	return all
}

// compareReadings makes figures of two readings.
func compareReadings(name string, a, b outcome[Reading]) Broker {
	seconds := b.at.Sub(a.at).Seconds()
	if err := errors.Join(a.err, b.err); err != nil {
		f := missing("", "not reached: "+err.Error())
		return Broker{name, f, f, f, f, f}
	}
	why := b.value.Why
	if why == "" {
		why = "not among what it tells"
	}
	now := func(v *float64, unit string) Figure {
		if v == nil {
			return missing(unit, why)
		}
		return measured(*v, unit, b.value.From)
	}
	rate := func(from, to *float64, scale float64, unit string) Figure {
		switch {
		case from == nil || to == nil:
			return missing(unit, why)
		case *to < *from:
			return missing(unit, "it was started anew meanwhile")
		}
		return measured((*to-*from)*scale/seconds, unit, b.value.From)
	}
	return Broker{
		Name: name, Connections: now(b.value.Connections, ""), Produce: rate(a.value.Produce, b.value.Produce, 1, "/s"),
		CPU: rate(a.value.CPU, b.value.CPU, 1, "cores"), Heap: now(b.value.Heap, "bytes"), GC: rate(a.value.GC, b.value.GC, 1000, "ms/s"),
	}
}

// compareCounts makes figures of what sidecars counted. One that is another process by now has
// lost its counts: then none of the sums is known.
func compareCounts(a, b []outcome[Counts]) Sidecars {
	s := Sidecars{Asked: len(a)}
	none := func(reason string) Sidecars {
		f := missing("", reason)
		return Sidecars{len(a), f, f, f, f}
	}
	if len(a) == 0 {
		return none("no --listen")
	}
	var connections, produce, records, requests, seen float64
	for i := range a {
		if err := errors.Join(a[i].err, b[i].err); err != nil {
			return none("not reached: " + err.Error())
		}
		x, y := a[i].value, b[i].value
		if x.ID != y.ID {
			return none("a sidecar was started anew meanwhile")
		}
		connections += float64(y.Connections)
		seconds := b[i].at.Sub(a[i].at).Seconds()
		requests += float64(y.Produce - x.Produce)
		seen += float64(y.Records - x.Records)
		produce += float64(y.Produce-x.Produce) / seconds
		records += float64(y.Records-x.Records) / seconds
	}
	const from = "Status of the sidecars"
	s.Connections, s.Produce, s.Records = measured(connections, "", from), measured(produce, "/s", from), measured(records, "/s", from)
	s.Batch = missing("", "no produce request in the window")
	if requests > 0 {
		s.Batch = measured(seen/requests, "", from)
	}
	return s
}

// Parse reads a record that was written as JSON.
func Parse(data []byte) (*Record, error) {
	r := new(Record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("is no record of `ackmark baseline record`: %w", err)
	}
	if r.Format != 1 {
		return nil, fmt.Errorf("has the format %d, this version reads 1: take it again", r.Format)
	}
	return r, nil
}
