package telemetry

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// scope is in front of a part's name.
const scope = "github.com/ackmark/ackmark/"

// MaxPartitions is how many partitions of a part are told apart; values of further ones are joined
// under [Other].
const MaxPartitions = 10_000

// Part makes the instruments of one part (a package) of a process. A nil one makes none.
type Part struct {
	meter      metric.Meter
	partitions int
	provider   metric.MeterProvider
	name       string
}

// New returns the part of a provider, nil for none, and for one that nobody reads. Its name is that
// of its package.
func New(provider metric.MeterProvider, name string) *Part {
	if provider == nil {
		return nil
	}
	p := &Part{meter: provider.Meter(scope + name), partitions: MaxPartitions, provider: provider, name: name}
	if d, ok := provider.(interface{ DropPartitions() bool }); ok && d.DropPartitions() {
		p.partitions = 0
	}
	if !p.heard() {
		return nil
	}
	return p
}

// WithoutPartitions is a provider on which partitions are not told apart: their values are joined.
func WithoutPartitions(provider metric.MeterProvider) metric.MeterProvider {
	if provider == nil {
		return nil
	}
	return whole{provider}
}

type whole struct{ metric.MeterProvider }

// DropPartitions is how [New] finds it.
func (whole) DropPartitions() bool { return true }

// tell reports what a provider did not like: nothing stops for it. The user's handler of
// OpenTelemetry's errors hears it.
func tell(m *Metric, err error) {
	if err != nil {
		otel.Handle(fmt.Errorf("ackmark: metric %s: %w", m.Name, err))
	}
}

// Recorder records values of a histogram, with attributes that were made before. A nil one
// records nothing.
type Recorder struct {
	in  metric.Float64Histogram
	set []metric.RecordOption // of one, made once
}

// Histogram makes the instrument of a row.
func (p *Part) Histogram(m *Metric, attributes ...attribute.KeyValue) *Recorder {
	if p == nil {
		return nil
	}
	in, err := p.meter.Float64Histogram(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help), metric.WithExplicitBucketBoundaries(m.Buckets...))
	tell(m, err)
	if in == nil {
		return nil
	}
	return (&Recorder{in: in}).With(attributes...)
}

// With is the same instrument with other attributes.
func (h *Recorder) With(attributes ...attribute.KeyValue) *Recorder {
	if h == nil {
		return nil
	}
	return &Recorder{h.in, []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}}
}

// Listens tells whether anybody reads what is recorded: who does not know need not look at a clock.
func (h *Recorder) Listens() bool { return h != nil && h.in.Enabled(context.Background()) }

// Time records a duration.
func (h *Recorder) Time(d time.Duration) { h.record(d.Seconds()) }

// Number records a number of things.
func (h *Recorder) Number(n int) { h.record(float64(n)) }

// record calls the user's provider on the way of records: one that panics must not end the process
// that it was to watch.
func (h *Recorder) record(v float64) {
	if !h.Listens() {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			otel.Handle(fmt.Errorf("ackmark: the meter provider panicked: %v", p))
		}
	}()
	h.in.Record(context.Background(), v, h.set...)
}

// Every is how many records of a batch share one record of a histogram: quantiles stay those of
// records, at a cost below what a record may cost.
const Every = 64

func (p *Part) observable(m *Metric) (metric.Observable, error) {
	unit, help := metric.WithUnit(m.Unit), metric.WithDescription(m.Help)
	switch {
	case m.Kind == Counter && m.seconds():
		return p.meter.Float64ObservableCounter(m.Name, unit, help)
	case m.Kind == Counter:
		return p.meter.Int64ObservableCounter(m.Name, unit, help)
	case m.Kind == Level:
		return p.meter.Int64ObservableUpDownCounter(m.Name, unit, help)
	case m.seconds(), m.share():
		return p.meter.Float64ObservableGauge(m.Name, unit, help)
	}
	return p.meter.Int64ObservableGauge(m.Name, unit, help)
}
