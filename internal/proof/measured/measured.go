// Package measured reads what a part of Ackmark told a meter provider, for tests.
package measured

import (
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// Meter is a provider that a test collects from.
type Meter struct {
	metric.MeterProvider
	reader sdk.Reader
}

// New has been told nothing.
func New() *Meter {
	reader := sdk.NewManualReader()
	return &Meter{sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithCardinalityLimit(0)), reader}
}

// Values are those of one collection, by metric.
type Values map[string][]Value

// Value is that of one series. Of a distribution it is how many values were recorded.
type Value struct {
	Of attribute.Set
	Is float64
}

// Collect asks for everything.
func (m *Meter) Collect(t testing.TB) Values {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := m.reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	all := Values{}
	for _, scope := range rm.ScopeMetrics {
		for _, one := range scope.Metrics {
			all[one.Name] = append(all[one.Name], points(one.Data)...)
		}
	}
	return all
}

func points(data metricdata.Aggregation) (all []Value) {
	switch d := data.(type) {
	case metricdata.Sum[int64]:
		all = numbers(d.DataPoints)
	case metricdata.Gauge[int64]:
		all = numbers(d.DataPoints)
	case metricdata.Sum[float64]:
		all = numbers(d.DataPoints)
	case metricdata.Gauge[float64]:
		all = numbers(d.DataPoints)
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			all = append(all, Value{p.Attributes, float64(p.Count)})
		}
	}
	return all
}

func numbers[N int64 | float64](points []metricdata.DataPoint[N]) (all []Value) {
	for _, p := range points {
		all = append(all, Value{p.Attributes, float64(p.Value)})
	}
	return all
}

// Sum adds the series of a metric that have all these attributes; series is how many those are.
func (v Values) Sum(m *telemetry.Metric, having ...attribute.KeyValue) (sum float64, series int) {
	for _, one := range v[m.Name] {
		if !slices.ContainsFunc(having, func(kv attribute.KeyValue) bool {
			got, ok := one.Of.Value(kv.Key)
			return !ok || got != kv.Value
		}) {
			sum += one.Is
			series++
		}
	}
	return sum, series
}

// Want fails the test where the sum of the series with these attributes is another one, or where
// there are none.
func (v Values) Want(t testing.TB, want float64, m *telemetry.Metric, having ...attribute.KeyValue) {
	t.Helper()
	if got, series := v.Sum(m, having...); got != want || series == 0 {
		t.Errorf("%s%v is %v in %d series, want %v", m.Name, having, got, series, want)
	}
}

// Unlisted are attributes that a metric's row does not name, as text: there must be none.
func (v Values) Unlisted() (bad []string) {
	for _, m := range telemetry.Metrics {
		for _, one := range v[m.Name] {
			for _, kv := range one.Of.ToSlice() {
				if !m.Has(kv.Key) {
					bad = append(bad, m.Name+" has "+string(kv.Key))
				}
			}
		}
	}
	slices.Sort(bad)
	return slices.Compact(bad)
}
