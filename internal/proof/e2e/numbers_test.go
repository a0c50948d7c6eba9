package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// The numbers of an outage: two apps work through a sidecar, one comes and goes, a broker dies
// under load. What was sent again is told by topic, and by app; rebalances and repeats by
// partition; and all that was taken has its fate.
func TestNumbersOfAnOutage(t *testing.T) {
	modes := []pipeline.Mode{pipeline.AtLeastOnce}
	if os.Getenv("ACKMARK_NUMBERS") != "" { // make operate
		modes = append(modes, pipeline.ExactlyOnce)
	}
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			s := newScenario(t, brokers(t))
			s.kafka.CanBreak()
			pod := measured.New()
			s.serve(pod, mode)
			a, b := measured.New(), measured.New()
			s.work("app-a", a, mode)
			s.members(1)
			f := s.feed(1000)
			s.outputs(1000)
			stop := s.work("app-b", b, mode)
			s.members(2)
			f.more(2000)
			s.moved(b, map[float64]int{1: 3}) // three came
			stop()
			s.moved(a, map[float64]int{1: 3, 3: 3}) // all came, three went and came back

			stop = s.work("app-b", measured.New(), mode)
			s.members(2)
			f.more(2000)
			leader := s.kafka.LeaderOf(s.output, 0)
			s.kafka.Kill(leader)
			f.more(5000) // the election takes 3 s
			s.kafka.Restart(leader)
			f.more(1000)
			n := f.finish()
			s.caughtUp()
			stop()

			got, out := pod.Collect(t), telemetry.Topic.String(s.output)
			batches, _ := got.Sum(telemetry.Retried, out)
			if n, _ := got.Sum(telemetry.Retried); batches == 0 || n != batches {
				t.Errorf("%v batches were sent again, %v of the only topic", n, batches)
			}
			all := 0.0
			for _, app := range []string{"app-a", "app-b"} {
				of := telemetry.App.String(app)
				again, series := got.Sum(telemetry.RetriedMessages, out, of)
				sent, _ := got.Sum(telemetry.Sent, out, of)
				t.Logf("%s: %v of %v records were sent again, in %v batches of both apps", app, again, sent, batches)
				if all += again; series != 1 || again > sent/2 {
					t.Errorf("%s: %v of %v records were sent again, in %d series", app, again, sent, series)
				}
				got.Want(t, 0, telemetry.Outstanding, out, of)
			}
			if all == 0 {
				t.Error("no app had a record that was sent again")
			}
			if sent, _ := got.Sum(telemetry.Sent); sent != float64(n) {
				t.Errorf("%v records were acknowledged, of %d inputs", sent, n)
			}
			for _, one := range got[telemetry.Sent.Name] {
				if why, failed := one.Of.Value(telemetry.ErrorType); failed && one.Is > 0 {
					t.Errorf("%v records failed with %s", one.Is, why.AsString())
				}
			}
			for p := range partitions {
				a.Collect(t).Want(t, 0, telemetry.Repeats, telemetry.Topic.String(s.input), telemetry.Partition.String(fmt.Sprint(p)))
			}
			if mode == pipeline.ExactlyOnce {
				s.seenOnce(n)
			} else {
				s.verify(n)
			}
		})
	}
}

// moved waits until so many partitions had so many rebalances each, which took a time.
func (s *scenario) moved(m *measured.Meter, want map[float64]int) {
	s.Helper()
	s.await("rebalances of partitions", func() error {
		got, had := m.Collect(s.T), map[float64]int{}
		for p := range partitions {
			of := telemetry.Partition.String(fmt.Sprint(p))
			n, series := got.Sum(telemetry.PartitionRebalances, telemetry.Topic.String(s.input), of)
			if series == 0 {
				continue
			}
			had[n]++
			if took, _ := got.Sum(telemetry.PartitionRebalanceTime, telemetry.Topic.String(s.input), of); took <= 0 {
				return fmt.Errorf("those of partition %d took no time", p)
			}
		}
		if !maps.Equal(had, want) {
			return fmt.Errorf("%v, want %v", had, want)
		}
		return nil
	})
}

var quiet = slog.New(slog.DiscardHandler)

// serve runs a sidecar in this process until the test ends.
func (s *scenario) serve(m *measured.Meter, mode pipeline.Mode) {
	s.Helper()
	cfg := sidecar.Config{Brokers: strings.Split(s.kafka.Brokers(), ","), Listen: "unix://" + s.socket(), MeterProvider: m, Logger: quiet}
	if mode == pipeline.ExactlyOnce {
		cfg.TransactionalID = s.kafka.Name("pod")
	}
	sc, err := sidecar.New(cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.until(sc.Run)
}

// work runs the example's job in this process until the test ends, or stop is called.
func (s *scenario) work(name string, m *measured.Meter, mode pipeline.Mode) (stop func()) {
	s.Helper()
	return s.until(func(ctx context.Context) error {
		return pipeline.Run(ctx, pipeline.Config{
			Mode:          mode,
			Consumer:      consumer.Config{Brokers: strings.Split(s.kafka.Brokers(), ","), Group: s.group, Topics: []string{s.input}, Protocol: protocolUnderTest, Logger: quiet},
			Producer:      producer.DialConfig{Target: "unix://" + s.socket(), App: name, Logger: quiet}.New(),
			DeadLetter:    pipeline.DeadLetter{Topic: s.output},
			MeterProvider: m, Logger: quiet, SourceHeaders: true,
			Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
				return []producer.Record{{Topic: s.output, Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
			}),
		})
	})
}

// until runs something until the test ends, or stop is called.
func (s *scenario) until(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	over := false
	stop = func() {
		if over {
			return
		}
		over = true
		cancel()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, context.Canceled) {
				s.Error(err)
			}
		case <-time.After(settle):
			s.Error("it does not end")
		}
	}
	s.Cleanup(stop)
	return stop
}
