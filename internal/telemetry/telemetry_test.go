package telemetry

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func TestTheTableIsInOrder(t *testing.T) {
	name := regexp.MustCompile(`^(messaging|ackmark)(\.[a-z][a-z_]*)+$`)
	seen := map[string]bool{}
	for _, m := range Metrics {
		switch {
		case !name.MatchString(m.Name):
			t.Errorf("%q is no name", m.Name)
		case seen[m.Name]:
			t.Errorf("%s stands twice", m.Name)
		case m.Unit == "" || m.Help == "" || m.Help[len(m.Help)-1] != '.':
			t.Errorf("%s has no unit, or its help is no sentence: %q", m.Name, m.Help)
		case (m.Kind == Histogram) != (len(m.Buckets) > 0) || !slices.IsSorted(m.Buckets):
			t.Errorf("%s is a %s with the buckets %v", m.Name, m.Kind, m.Buckets)
		case m.Kind == Level && m.seconds():
			t.Errorf("%s: a level is a whole number", m.Name)
		}
		seen[m.Name] = true
	}
}

// collected are the values of a reader: by metric, and by attributes as text.
func collected(t *testing.T, r sdk.Reader) map[string]map[string]float64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]float64{}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			values := map[string]float64{}
			put := func(set attribute.Set, v float64) {
				values[set.Encoded(attribute.DefaultEncoder())] = v
			}
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					put(p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					put(p.Attributes, float64(p.Value))
				}
			case metricdata.Sum[float64]:
				for _, p := range d.DataPoints {
					put(p.Attributes, p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					put(p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					put(p.Attributes, float64(p.Count))
				}
			}
			all[m.Name] = values
		}
	}
	return all
}

func provider() (*sdk.MeterProvider, sdk.Reader) {
	r := sdk.NewManualReader()
	return sdk.NewMeterProvider(sdk.WithReader(r), sdk.WithCardinalityLimit(0)), r
}

// Every row of the table makes an instrument that takes a value.
func TestEveryRowIsAnInstrument(t *testing.T) {
	p, r := provider()
	part := New(p, "part")
	var observed []*Metric
	for _, m := range Metrics {
		if m.Kind != Histogram {
			observed = append(observed, m)
			continue
		}
		h := part.Histogram(m, Topic.String("t")).With(Topic.String("u"))
		h.Time(time.Second)
		h.Number(2)
	}
	stop := part.Observe(func(r *Reading) {
		for _, m := range observed {
			switch {
			case m.seconds():
				r.Time(m, time.Second, attribute.NewSet())
			case m.share():
				r.Share(m, 0.5, attribute.NewSet())
			default:
				r.Count(m, 1, attribute.NewSet())
			}
		}
	}, observed...)
	all := collected(t, r)
	for _, m := range Metrics {
		if len(all[m.Name]) != 1 {
			t.Errorf("%s: %v", m.Name, all[m.Name])
		}
	}
	stop()
	if all = collected(t, r); len(all[Sent.Name]) != 0 {
		t.Errorf("told after the end: %v", all[Sent.Name])
	}
}

func TestWithoutAProviderNothingIsDone(t *testing.T) {
	part := New(nil, "part")
	h := part.Histogram(Latency)
	if allocs := testing.AllocsPerRun(100, func() { h.Time(time.Second); h.Number(1); h.With() }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	part.Observe(func(*Reading) { t.Error("asked") }, Sent)()
	New(noop.NewMeterProvider(), "part").Observe(func(*Reading) {}, Sent)()
}

// tell lags of so many partitions of one topic; partition i has lag and age i.
func tellLags(part *Part, partitions *int) (stop func()) {
	return part.Observe(func(r *Reading) {
		for i := range *partitions {
			at := r.Partition("t", int32(i), Group.String("g"))
			at.Count(AckLag, int64(i))
			at.Time(OldestAge, time.Duration(i)*time.Second)
		}
	}, AckLag, OldestAge)
}

// Ten thousand partitions are told apart, and not one more: the others are one, of which lags add
// up and the greatest age counts.
func TestPartitionsBeyondTheBoundAreJoined(t *testing.T) {
	p, r := provider()
	n := MaxPartitions
	tellLags(New(p, "part"), &n)
	if all := collected(t, r); len(all[AckLag.Name]) != MaxPartitions || len(all[OldestAge.Name]) != MaxPartitions {
		t.Fatalf("%d and %d series, want %d", len(all[AckLag.Name]), len(all[OldestAge.Name]), MaxPartitions)
	}
	n += 3
	all := collected(t, r)
	const other = "messaging.consumer.group.name=g,messaging.destination.name=other,messaging.destination.partition.id=other"
	if lag, age := all[AckLag.Name], all[OldestAge.Name]; len(lag) != MaxPartitions+1 || lag[other] != 10_000+10_001+10_002 || age[other] != 10_002 {
		t.Errorf("%d series, joined lag %v, age %v", len(lag), lag[other], age[other])
	}
	n = 2 // places of those that are gone are given to others
	collected(t, r)
	n = MaxPartitions
	if all := collected(t, r); len(all[AckLag.Name]) != MaxPartitions || all[AckLag.Name][other] != 0 {
		t.Errorf("%d series after partitions went", len(all[AckLag.Name]))
	}
}

func TestPartitionsAreJoinedWhenAsked(t *testing.T) {
	p, r := provider()
	n := 4
	tellLags(New(WithoutPartitions(p), "part"), &n)
	all := collected(t, r)
	const topic = "messaging.consumer.group.name=g,messaging.destination.name=t"
	if lag, age := all[AckLag.Name], all[OldestAge.Name]; len(lag) != 1 || lag[topic] != 6 || age[topic] != 3 {
		t.Errorf("lag %v, age %v", lag, age)
	}
}

// Two parts of one name on one provider, as two consumers of a group in one process, are told as
// one where partitions are: the sum, and not what the last of them says.
func TestPartsOfOneNameAreJoined(t *testing.T) {
	p, r := provider()
	n, more := 4, 3
	tellLags(New(WithoutPartitions(p), "part"), &n)
	stop := tellLags(New(WithoutPartitions(p), "part"), &more)
	const topic = "messaging.consumer.group.name=g,messaging.destination.name=t"
	if all := collected(t, r); all[AckLag.Name][topic] != 6+3 || all[OldestAge.Name][topic] != 3 {
		t.Errorf("lag %v, age %v", all[AckLag.Name], all[OldestAge.Name])
	}
	stop()
	if all := collected(t, r); all[AckLag.Name][topic] != 6 {
		t.Errorf("lag %v after one ended", all[AckLag.Name])
	}
}

// sent is a collector's side of a provider that sends.
type sent struct{ values []int64 }

func (*sent) Temporality(sdk.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}
func (*sent) Aggregation(k sdk.InstrumentKind) sdk.Aggregation {
	return sdk.DefaultAggregationSelector(k)
}
func (*sent) ForceFlush(context.Context) error { return nil }
func (*sent) Shutdown(context.Context) error   { return nil }
func (s *sent) Export(_ context.Context, rm *metricdata.ResourceMetrics) error {
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == Done.Name {
				s.values = append(s.values, sum.DataPoints[0].Value)
			}
		}
	}
	return nil
}

// What a part counted since the last interval is sent when it ends: there is no interval after it.
func TestTheLastValuesOfAPartAreSent(t *testing.T) {
	for name, wrap := range map[string]func(metric.MeterProvider) metric.MeterProvider{
		"plain": func(p metric.MeterProvider) metric.MeterProvider { return p }, "joined": WithoutPartitions,
	} {
		synctest.Test(t, func(t *testing.T) { // a flush waits for a second at most, a loaded machine for longer
			to := new(sent)
			p := sdk.NewMeterProvider(sdk.WithReader(sdk.NewPeriodicReader(to, sdk.WithInterval(time.Hour))))
			stop := New(wrap(p), "part").Observe(func(r *Reading) { r.Count(Done, 7, attribute.NewSet()) }, Done)
			stop()
			if len(to.values) != 1 || to.values[0] != 7 {
				t.Errorf("%s: the collector has %v, want the last value, 7", name, to.values)
			}
			if err := p.Shutdown(t.Context()); err != nil || len(to.values) != 1 {
				t.Errorf("%s: %v, and the collector has %v", name, err, to.values)
			}
		})
	}
}

func TestABoundHasAnother(t *testing.T) {
	made := 0
	b := NewBound(100, Other, func(string) *int { made++; return new(int) })
	for i := range 10_000 {
		*b.Get(fmt.Sprint("app-", i))++
	}
	*b.Get("app-5")++
	total, keys := 0, 0
	b.Each(func(_ string, n *int) { total += *n; keys++ })
	if keys != 101 || made != 101 || total != 10_001 || *b.Get("app-5") != 2 || *b.Get(Other) != 9_900 {
		t.Errorf("%d keys, %d made, %d in all, %d of app-5, %d others", keys, made, total, *b.Get("app-5"), *b.Get(Other))
	}
}

func TestErrorsHaveKafkasName(t *testing.T) {
	for _, c := range []struct {
		err        error
		name, want string
	}{
		{kerr.NotEnoughReplicas, "", "NOT_ENOUGH_REPLICAS"},
		{fmt.Errorf("sent: %w", kerr.MessageTooLarge), "X", "MESSAGE_TOO_LARGE"},
		{context.Canceled, "DRAINING", "DRAINING"},
		{errors.New("secret"), "", "_OTHER"},
	} {
		if got := KafkaError(c.err, c.name); got != c.want {
			t.Errorf("%v is called %s, want %s", c.err, got, c.want)
		}
	}
}

type panics struct{ noop.Float64Histogram }

func (panics) Enabled(context.Context) bool                            { return true }
func (panics) Record(context.Context, float64, ...metric.RecordOption) { panic("a provider's fault") }

// A provider that panics on the way of records does not end the process that it was to watch.
func TestAPanickingProviderEndsNothing(t *testing.T) {
	h := (&Recorder{in: panics{}}).With(Topic.String("t"))
	h.Time(time.Second)
	h.Number(1)
	var none *Recorder
	if none.Time(time.Second); none.Listens() || !h.Listens() {
		t.Error("nobody listens to none, and somebody to one")
	}
}
