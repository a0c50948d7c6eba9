package producer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A detour around a sidecar that died is told while it lasts, by its time, its records and its
// switches; and to the next sidecar as one incident, with how long it was and why. That needs no
// pipeline, and is not done again when the stream is another one.
func TestFallbackIsTold(t *testing.T) {
	for name, tells := range map[string]bool{"a pipeline": true, "a producer alone": false} {
		t.Run(name, func(t *testing.T) {
			fallback := producer.FallbackConfig{Mode: producer.OnUnavailable, UnitTTL: time.Hour}
			inTwoWays(t, fallback, func(t *testing.T, x *twoWays, _ producer.Producer) {
				var states []*sidecarpb.ProcessState
				x.script.mu.Lock()
				x.hello = func(*sidecarpb.Hello) (*sidecarpb.Welcome, error) {
					return &sidecarpb.Welcome{Version: 1, Features: []string{"state"}, Credit: x.credit, MaxMessageBytes: 1 << 20}, nil
				}
				x.control = func(s *session, m *sidecarpb.DeliveryStreamRequest) error {
					if m.GetGoodbye() != nil {
						s.closing <- nil
					}
					if m.GetState() != nil {
						s.mu.Lock()
						defer s.mu.Unlock()
						states = append(states, m.GetState())
					}
					return nil
				}
				x.script.mu.Unlock()
				incidents := func() (all []*sidecarpb.Incident) {
					x.script.mu.Lock()
					defer x.script.mu.Unlock()
					for _, m := range states {
						all = append(all, m.GetIncidents()...)
						if (m.GetProcess() != nil) != tells {
							t.Errorf("%v is told: only who has a state tells one", m)
						}
					}
					return all
				}
				meter := measured.New()
				x.cfg.MeterProvider = meter
				p := x.cfg.New()
				defer p.Close()
				if tells {
					defer p.(producer.Teller).Tell(func() podstate.Report { return podstate.Report{} })()
				}
				emit := func(n int) {
					for range n {
						if _, err := p.Emit(t.Context(), record1("k", "v")); err != nil {
							t.Error(err)
						}
					}
				}
				emit(2)
				time.Sleep(3 * time.Second)
				got := meter.Collect(t)
				for _, row := range []*telemetry.Metric{telemetry.FallbackActive, telemetry.FallbackTime, telemetry.FallbackSwitches, telemetry.FallbackRecords} {
					got.Want(t, 0, row)
				}
				x.mu.Lock()
				x.died = true
				x.mu.Unlock()
				x.stop()
				eventually(t, "directly to Kafka", func() bool { return stats(p).Active })
				emit(3)
				time.Sleep(20 * time.Second)
				got = meter.Collect(t)
				got.Want(t, 1, telemetry.FallbackActive)
				got.Want(t, 1, telemetry.FallbackSwitches)
				got.Want(t, 3, telemetry.FallbackRecords)
				if spent, _ := got.Sum(telemetry.FallbackTime); spent < 20 || spent > 21 {
					t.Errorf("%v s of 20 were spent past the sidecar", spent)
				}
				x.start()
				eventually(t, "back at the sidecar", func() bool { return !stats(p).Active })
				back := time.Now()
				time.Sleep(10 * time.Second)
				got = meter.Collect(t)
				got.Want(t, 0, telemetry.FallbackActive)
				got.Want(t, 2, telemetry.FallbackSwitches)
				got.Want(t, 3, telemetry.FallbackRecords)
				got.Want(t, stats(p).Time.Seconds(), telemetry.FallbackTime)
				x.stop() // for less than After
				x.start()
				time.Sleep(10 * time.Second)
				all := incidents()
				if len(all) != 1 {
					t.Fatalf("told are %v, want one", all)
				}
				in := all[0]
				if at := time.UnixMilli(in.GetTimeMs()); in.GetKind() != string(podstate.Fallback) || in.GetCount() != 1 || at.Sub(back).Abs() > 100*time.Millisecond {
					t.Errorf("told is %v, want a fallback of %v", in, back)
				}
				why, spent := "connection refused", stats(p).Time.Round(time.Millisecond).String()
				if r := in.GetReason(); !strings.Contains(r, "went past the sidecar for "+spent+", "+spent+" in all: ") || !strings.Contains(r, why) {
					t.Errorf("the reason is %q, want %v and %q", r, spent, why)
				}
			})
		})
	}
}
