package sidecar_test

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// BenchmarkLatency is the way of one record, alone and without linger: through the sidecar and back
// as a report, and from a producer of one's own. The difference is what the sidecar adds (G6).
func BenchmarkLatency(b *testing.B) {
	b.Run("sidecar", func(b *testing.B) {
		kafka := cluster(b)
		sc := sidecartest.Start(b, kafka.ListenAddrs(), nil)
		c := hello(b, dial(b, sc.Target), "latency")
		unit := plain("one", 1)
		for n := 1; b.Loop(); n++ {
			c.units(unit...)
			c.reported(n)
		}
	})
	b.Run("direct", func(b *testing.B) {
		kafka := cluster(b)
		cl, err := kgo.NewClient(kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.ProducerLinger(0))
		if err != nil {
			b.Fatal(err)
		}
		defer cl.Close()
		for b.Loop() {
			if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: "one", Key: []byte("k0"), Value: []byte("v0")}).FirstErr(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
