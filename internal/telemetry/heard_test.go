package telemetry

import (
	"slices"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A provider that nobody reads is as good as none: nothing is counted for it. One row that is read
// is enough to count, whatever else is dropped.
func TestNobodyReads(t *testing.T) {
	reader := func() sdk.Option { return sdk.WithReader(sdk.NewManualReader()) }
	only := func(kept ...*Metric) sdk.Option {
		return sdk.WithView(func(in sdk.Instrument) (sdk.Stream, bool) {
			keep := slices.ContainsFunc(kept, func(m *Metric) bool { return m.Name == in.Name })
			return sdk.Stream{Name: in.Name, Aggregation: sdk.AggregationDrop{}}, !keep
		})
	}
	for name, x := range map[string]struct {
		provider metric.MeterProvider
		counted  bool
	}{
		"none":                       {nil, false},
		"no-op":                      {noop.NewMeterProvider(), false},
		"no reader":                  {sdk.NewMeterProvider(), false},
		"no reader, no partitions":   {WithoutPartitions(sdk.NewMeterProvider()), false},
		"all dropped":                {sdk.NewMeterProvider(reader(), only()), false},
		"a reader":                   {sdk.NewMeterProvider(reader()), true},
		"a reader, no partitions":    {WithoutPartitions(sdk.NewMeterProvider(reader())), true},
		"one counter is kept":        {sdk.NewMeterProvider(reader(), only(Sent)), true},
		"one gauge is kept":          {sdk.NewMeterProvider(reader(), only(LogEnd)), true},
		"one histogram is kept":      {sdk.NewMeterProvider(reader(), only(Latency)), true},
		"the process's, not yet set": {otel.GetMeterProvider(), true},
	} {
		if got := New(x.provider, "part") != nil; got != x.counted {
			t.Errorf("%s: counted %t, want %t", name, got, x.counted)
		}
	}
}

// The look whether somebody reads leaves nothing behind for who does.
func TestTheLookLeavesNothing(t *testing.T) {
	reader := sdk.NewManualReader()
	New(sdk.NewMeterProvider(sdk.WithReader(reader)), "part")
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil || len(rm.ScopeMetrics) != 0 {
		t.Errorf("%v, %v are told", err, rm.ScopeMetrics)
	}
}
