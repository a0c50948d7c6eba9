package producer_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/producer"
)

// wantOf fails the test where a series of the metric has another app, or none.
func wantOf(t *testing.T, got measured.Values, app string, rows ...*telemetry.Metric) {
	t.Helper()
	for _, m := range rows {
		_, all := got.Sum(m)
		if _, of := got.Sum(m, telemetry.App.String(app)); of != all || all == 0 {
			t.Errorf("%s: %d of %d series are of app %s", m.Name, of, all, app)
		}
	}
}

// Each series of a client says whose it is: two clients of one process are told apart, and what
// went past the sidecar is told by topic, those that nothing went to as 0.
func TestAClientsSeriesNameItsApp(t *testing.T) {
	inTwoWays(t, producer.FallbackConfig{}, func(t *testing.T, x *twoWays, _ producer.Producer) {
		meter := measured.New()
		x.cfg.MeterProvider, x.cfg.App = meter, "orders"
		side := x.cfg.New()
		defer side.Close()
		x.cfg.App, x.cfg.Fallback.Mode = "bills", producer.Forced
		round := x.cfg.New()
		defer round.Close()
		if _, err := side.Emit(t.Context(), producer.Record{Topic: "t"}); err != nil {
			t.Fatal(err)
		}
		if _, err := side.Emit(t.Context(), producer.Record{}); err == nil {
			t.Fatal("a record without a topic was taken")
		}
		f := fates{make(chan int, 8)}
		both := []producer.Record{{Topic: "t"}, {Topic: "nowhere"}, {Topic: "t"}}
		if err := round.Deliver(t.Context(), []producer.Unit{{Outputs: both[:1]}, {Outputs: both[:1]}}, f); err != nil {
			t.Fatal(err)
		}
		if err := round.Deliver(t.Context(), []producer.Unit{{}, {Outputs: both}, {Outputs: both[:1]}}, f); err != nil {
			t.Fatal(err)
		}
		for open := 5; open > 0; {
			open -= <-f.ended
		}
		got := meter.Collect(t)
		orders, bills, topic := telemetry.App.String("orders"), telemetry.App.String("bills"), telemetry.Topic.String("t")
		got.Want(t, 1, telemetry.Attempted, orders, topic)
		got.Want(t, 5, telemetry.Attempted, bills, topic)
		got.Want(t, 3, telemetry.Sent, bills, telemetry.ErrorType.String("UNKNOWN_TOPIC_OR_PARTITION")) // the records of its unit
		got.Want(t, 1, telemetry.Refused, orders)
		got.Want(t, 0, telemetry.CreditWaits, orders, telemetry.Reason.String("buffer"))
		got.Want(t, 1, telemetry.Latency, orders)
		got.Want(t, 0, telemetry.Outstanding, bills)
		got.Want(t, 0, telemetry.FallbackActive, orders)
		got.Want(t, 1, telemetry.FallbackActive, bills)
		got.Want(t, 1, telemetry.FallbackSwitches, bills)
		got.Want(t, 0, telemetry.FallbackRecords, orders, topic)
		got.Want(t, 5, telemetry.FallbackRecords, bills, topic)
		got.Want(t, 1, telemetry.FallbackRecords, bills, telemetry.Topic.String("nowhere"))
		got.Want(t, 7, telemetry.FallbackRecords, bills) // one unit has no record
		got.Want(t, 1, telemetry.Streams, orders, telemetry.Outcome.String("opened"))
		for _, m := range []*telemetry.Metric{
			telemetry.Attempted, telemetry.Sent, telemetry.Latency, telemetry.Outstanding, telemetry.Refused, telemetry.CreditWaits, telemetry.CreditWaited,
			telemetry.Streams, telemetry.FallbackActive, telemetry.FallbackTime, telemetry.FallbackSwitches, telemetry.FallbackRecords,
		} {
			_, all := got.Sum(m)
			_, first := got.Sum(m, orders)
			if _, second := got.Sum(m, bills); first+second != all || all == 0 {
				t.Errorf("%s: %d and %d of %d series are of an app", m.Name, first, second, all)
			}
		}
		if bad := got.Unlisted(); len(bad) > 0 {
			t.Errorf("attributes that the table does not have: %q", bad)
		}
	})
}

// Who goes both ways by its routes is one app on both; a producer of a process's own has none. What
// no sidecar would take as a name is no label.
func TestWhoseSeriesAreADirectProducers(t *testing.T) {
	for _, x := range []struct{ app, want string }{{"orders", "orders"}, {"no\xffname", telemetry.Other}, {fmt.Sprintf("%0129d", 0), telemetry.Other}} {
		meter := measured.New()
		own := producer.DirectConfig{Brokers: newBroker(t, "out").ListenAddrs(), Options: []kgo.Opt{kgo.ProducerLinger(0)}, MeterProvider: meter}
		p := producer.RouteConfig{
			Sidecar: producer.DialConfig{Target: "unix:///nobody", App: x.app, MeterProvider: meter}, Direct: own, Topics: map[string]string{"*": "direct"},
		}.New()
		if _, err := p.Emit(t.Context(), producer.Record{Topic: "out"}); err != nil {
			t.Fatal(err)
		}
		got := meter.Collect(t)
		got.Want(t, 1, telemetry.Sent, telemetry.App.String(x.want), telemetry.Route.String("direct"))
		wantOf(t, got, x.want, telemetry.Attempted, telemetry.Sent, telemetry.Latency, telemetry.Streams)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	meter := measured.New()
	p := producer.Direct(producer.DirectConfig{Brokers: newBroker(t, "out").ListenAddrs(), MeterProvider: meter})
	defer p.Close()
	if _, err := p.Emit(t.Context(), producer.Record{Topic: "out"}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*telemetry.Metric{telemetry.Attempted, telemetry.Sent, telemetry.Latency, telemetry.CreditWaits} {
		for _, one := range meter.Collect(t)[m.Name] {
			if app, has := one.Of.Value(telemetry.App); has {
				t.Errorf("%s has the app %q", m.Name, app.AsString())
			}
		}
	}
}
