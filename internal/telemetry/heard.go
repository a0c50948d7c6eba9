package telemetry

import (
	"context"
	"reflect"

	"go.opentelemetry.io/otel/metric"
)

// heard tells whether anybody could read anything of a part: a provider without a reader, or with
// views that drop all of the table, need not be counted for. It gives for our rows what it gives
// for none: that is how OpenTelemetry's SDK and its no-op say so. Of another provider it is taken
// that somebody reads. What cannot be made is told by who makes it in earnest.
func (p *Part) heard() bool {
	var all []metric.Observable
	for _, m := range Metrics {
		if m.Kind == Histogram {
			in, err := p.meter.Float64Histogram(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help), metric.WithExplicitBucketBoundaries(m.Buckets...))
			if err != nil || in == nil || in.Enabled(context.Background()) {
				return true
			}
			continue
		}
		in, err := p.observable(m)
		if err != nil || in == nil {
			return true
		}
		all = append(all, in)
	}
	nothing := func(context.Context, metric.Observer) error { return nil }
	ours, err := p.meter.RegisterCallback(nothing, all...)
	if err != nil || ours == nil {
		return true
	}
	defer func() { _ = ours.Unregister() }()
	none, err := p.meter.RegisterCallback(nothing)
	if err != nil || none == nil {
		return true
	}
	defer func() { _ = none.Unregister() }()
	return !reflect.ValueOf(ours).Comparable() || !reflect.ValueOf(none).Comparable() || ours != none
}
