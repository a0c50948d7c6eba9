package producer_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/producer"
)

// fates waits for the fates of units.
type fates struct{ ended chan int }

func (f fates) Acked(_, n int)                  { f.ended <- n }
func (f fates) Failed(_ int, _ *producer.Error) { f.ended <- 1 }

// What a producer takes is counted once, and once when it has its fate, by the code of the error
// where it failed; what it does not take is refused.
func TestRecordsAreCountedOnceAndByTheirFate(t *testing.T) {
	meter := measured.New()
	p := producer.Direct(producer.DirectConfig{Brokers: newBroker(t, "out").ListenAddrs(), Options: []kgo.Opt{kgo.ProducerLinger(0)}, MeterProvider: meter})
	t.Cleanup(func() { _ = p.Close() })
	units := make([]producer.Unit, 100)
	for i := range units {
		units[i].Outputs = []producer.Record{{Topic: "out", Value: []byte("v")}, {Topic: "out", Value: []byte("w")}}
	}
	units[99].Outputs = []producer.Record{{Topic: "nowhere"}}
	f := fates{make(chan int, 200)}
	if err := p.Deliver(t.Context(), units, f); err != nil {
		t.Fatal(err)
	}
	for open := 100; open > 0; {
		open -= <-f.ended
	}
	if _, err := p.Emit(t.Context(), producer.Record{Topic: "out"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Deliver(t.Context(), []producer.Unit{{Outputs: []producer.Record{{Topic: ""}}}}, f); err == nil {
		t.Fatal("a record without a topic was taken")
	}
	got := meter.Collect(t)
	out, nowhere := telemetry.Topic.String("out"), telemetry.Topic.String("nowhere")
	got.Want(t, 199, telemetry.Attempted, out)
	got.Want(t, 199, telemetry.Sent, out, telemetry.Route.String("direct"))
	got.Want(t, 1, telemetry.Attempted, nowhere)
	got.Want(t, 1, telemetry.Sent, nowhere, telemetry.ErrorType.String("UNKNOWN_TOPIC_OR_PARTITION"))
	got.Want(t, 0, telemetry.Outstanding)
	got.Want(t, 1, telemetry.Refused)
	if n, _ := got.Sum(telemetry.Latency, out); n < 2 || n > 199/8 {
		t.Errorf("%v of 199 records told their latency", n)
	}
	if n, _ := got.Sum(telemetry.Connections); n == 0 {
		t.Error("no connection is told")
	}
	if bad := got.Unlisted(); len(bad) > 0 {
		t.Errorf("attributes that the table does not have: %q", bad)
	}
}

// unreachable is a network on which nobody answers.
func unreachable(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("unreachable")
}

// A call that waits for room is no attempt yet: what is refused in the end was never counted, as a
// counter that falls is taken for a restart. Its wait is.
func TestWhatWaitsIsNotAttempted(t *testing.T) {
	producers := map[string]func(*measured.Meter) producer.Producer{
		"direct": func(m *measured.Meter) producer.Producer {
			return producer.Direct(producer.DirectConfig{
				Brokers: []string{"kafka:9092"}, Options: []kgo.Opt{kgo.Dialer(unreachable)}, MaxBufferedRecords: 1, CloseTimeout: time.Second,
				Logger: slog.New(slog.DiscardHandler), MeterProvider: m,
			})
		},
		"sidecar": func(m *measured.Meter) producer.Producer {
			return producer.DialConfig{
				Target: "nobody", App: "test", Dialer: func(ctx context.Context) (net.Conn, error) { return unreachable(ctx, "", "") },
				MaxBufferedRecords: 1, CloseTimeout: time.Second, Logger: slog.New(slog.DiscardHandler), MeterProvider: m,
			}.New()
		},
	}
	for name, of := range producers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				meter := measured.New()
				p := of(meter)
				defer p.Close()
				p.EmitAsync(producer.Record{Topic: "out"}, func(producer.Ack, error) {})
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				refused := make(chan error)
				go func() {
					_, err := p.Emit(ctx, producer.Record{Topic: "waits"})
					refused <- err
				}()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				meter.Collect(t).Want(t, 1, telemetry.Attempted)
				if err := <-refused; err == nil {
					t.Fatal("a second record was taken where one may be")
				}
				if _, err := p.Emit(ctx, producer.Record{Topic: ""}); err == nil {
					t.Fatal("a record without a topic was taken")
				}
				got, buffer := meter.Collect(t), telemetry.Reason.String("buffer")
				got.Want(t, 1, telemetry.Attempted)
				got.Want(t, 1, telemetry.Outstanding, telemetry.Topic.String("out"))
				got.Want(t, 2, telemetry.Refused)
				got.Want(t, 1, telemetry.CreditWaits, buffer)
				got.Want(t, 3, telemetry.CreditWaited, buffer)
				if _, series := got.Sum(telemetry.Attempted); series != 1 {
					t.Errorf("%d topics have a label, one was taken", series)
				}
				if n, _ := got.Sum(telemetry.Streams, telemetry.Outcome.String("failed")); (n > 0) != (name == "sidecar") {
					t.Errorf("%v attempts failed to come to a sidecar", n)
				}
			})
		})
	}
}

// A refused call is as many records as it has.
func TestRefusalsAreCountedInRecords(t *testing.T) {
	meter := measured.New()
	p := producer.Direct(producer.DirectConfig{Brokers: []string{"kafka:9092"}, Options: []kgo.Opt{kgo.Dialer(unreachable)}, MeterProvider: meter})
	defer p.Close()
	units := []producer.Unit{{Outputs: []producer.Record{{Topic: "a"}, {Topic: "a"}, {Topic: "b"}}}, {Outputs: []producer.Record{{Topic: ""}}}}
	if err := p.Deliver(t.Context(), units, fates{make(chan int, 3)}); err == nil {
		t.Fatal("a record without a topic was taken")
	}
	got, code := meter.Collect(t), telemetry.ErrorType.String(producer.CodeInvalidRecord)
	got.Want(t, 4, telemetry.Refused, code)
	got.Want(t, 2, telemetry.Refused, code, telemetry.Topic.String("a"))
	if _, topics := got.Sum(telemetry.Attempted); topics != 0 {
		t.Errorf("%d topics that nothing was written to are told apart", topics)
	}
	if bad := got.Unlisted(); len(bad) > 0 {
		t.Errorf("attributes that no row has: %q", bad)
	}
}

// On its way around the sidecar a client has a Kafka client, which is followed like every other;
// before it counts how often it came to the sidecar, and what waited for its credit.
func TestBothWaysOfAClientAreMeasured(t *testing.T) {
	inTwoWays(t, producer.FallbackConfig{}, func(t *testing.T, x *twoWays, _ producer.Producer) {
		meter := measured.New()
		x.cfg.MeterProvider = meter
		side := x.cfg.New()
		if _, err := side.Emit(t.Context(), producer.Record{Topic: "t"}); err != nil {
			t.Fatal(err)
		}
		got := meter.Collect(t)
		got.Want(t, 1, telemetry.Streams, telemetry.Outcome.String("opened"))
		got.Want(t, 0, telemetry.FallbackActive)
		got.Want(t, 0, telemetry.FallbackRecords)
		if n, _ := got.Sum(telemetry.Connections); n != 0 {
			t.Errorf("%v connections to brokers through a sidecar", n)
		}
		if err := side.Close(); err != nil {
			t.Fatal(err)
		}
		x.cfg.Fallback.Mode = producer.Forced
		round := x.cfg.New()
		defer round.Close()
		if _, err := round.Emit(t.Context(), producer.Record{Topic: "t"}); err != nil {
			t.Fatal(err)
		}
		got = meter.Collect(t)
		got.Want(t, 1, telemetry.FallbackActive)
		got.Want(t, 1, telemetry.FallbackRecords)
		got.Want(t, 1, telemetry.Attempted, telemetry.Route.String(telemetry.BySidecar))
		got.Want(t, 1, telemetry.Requests)
		if n, _ := got.Sum(telemetry.Connections); n < 1 {
			t.Error("its connections to brokers are not told")
		}
		if bad := got.Unlisted(); len(bad) > 0 {
			t.Errorf("attributes that the table does not have: %q", bad)
		}
	})
}
