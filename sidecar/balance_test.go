package sidecar_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar"
)

// The books balance: once nothing is on its way, what was attempted is acknowledged, failed or
// dropped, whatever sessions did, and whenever they ended: in the middle of a message, too.
func TestWhatIsAttemptedHasAFate(t *testing.T) {
	dropped := 0.0
	for seed := range uint64(10) {
		meter := measured.New()
		inBubble(t, func(c *sidecar.Config) {
			small(c)
			c.MeterProvider = meter
		}, func(t *testing.T, b *bubble) {
			rng := rand.New(rand.NewPCG(seed, 1))
			stuck := b.stick(0)
			for _, session := range []string{"a", "b", "c"} {
				c := hello(t, b.conn, session)
				for range 1 + rng.IntN(3) {
					units := make([]testUnit, 1+rng.IntN(120))
					for i := range units {
						for range 1 + rng.IntN(2) {
							topic := "out"
							if rng.IntN(10) == 0 {
								topic = "nowhere"
							}
							units[i].outs = append(units[i].outs, kgo.Record{Topic: topic, Partition: int32(rng.IntN(2)), Value: []byte("v")})
						}
					}
					c.units(units...)
				}
				time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
				if rng.IntN(3) > 0 {
					c.cancel()
				} else {
					c.goodbye()
				}
			}
			time.Sleep(time.Minute)
			stuck.Remove()
			time.Sleep(time.Minute)
			synctest.Wait()
			got := meter.Collect(t)
			for _, topic := range []string{"out", "nowhere"} {
				of := telemetry.Topic.String(topic)
				attempted, _ := got.Sum(telemetry.Attempted, of)
				sent, _ := got.Sum(telemetry.Sent, of)
				given, _ := got.Sum(telemetry.Dropped, of)
				if attempted != sent+given {
					t.Errorf("seed %d: topic %s: %v attempted, %v sent or failed, %v dropped", seed, topic, attempted, sent, given)
				}
				dropped += given
			}
		})
	}
	if dropped == 0 {
		t.Error("no session ended in the middle of a message: this test shows nothing")
	}
}
