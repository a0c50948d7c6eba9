package telemetry

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A connection that is open and then fails, as one whose login is refused, is not one too few.
func TestConnectionsAreNeverFewerThanNone(t *testing.T) {
	p, reader := provider()
	k := New(p, "part").Kafka()
	defer New(p, "part").Observe(k.Tell, KafkaRows...)()
	hangsUp := func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		_ = theirs.Close()
		return ours, nil
	}
	cl, err := kgo.NewClient(append(k.Hooks(), kgo.SeedBrokers("kafka:9092"), kgo.Dialer(hangsUp))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if cl.Ping(ctx) == nil {
		t.Fatal("a broker that hangs up answered")
	}
	cl.Close()
	failed, open := 0.0, int64(0)
	for _, n := range collected(t, reader)[Connects.Name] {
		failed += n
	}
	k.brokers.Each(func(_ string, b *broker) { open += b.open.Load() })
	if failed == 0 || open != 0 {
		t.Errorf("%v attempts, %d connections are left", failed, open)
	}
}
