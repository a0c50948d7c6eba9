package devbroker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/devbroker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg devbroker.Config) *devbroker.Broker {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b, err := devbroker.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func client(t *testing.T, b *devbroker.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestProduceAndConsume(t *testing.T) {
	var log bytes.Buffer
	b := start(t, devbroker.Config{Topics: map[string]int{"orders": 2}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx := testContext(t)
	cl := client(t, b, kgo.ConsumeTopics("orders"))
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("one")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetches := cl.PollFetches(ctx)
	if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 {
		t.Fatalf("got %d records, error %v; want 1 record", fetches.NumRecords(), err)
	}
	if n := b.Connections(); n == 0 {
		t.Error("Connections() is 0 while a client is connected")
	}
	if !strings.Contains(log.String(), devbroker.Label) {
		t.Errorf("the log does not say %q: %s", devbroker.Label, log.String())
	}
}

func TestWildcardIsAdvertisedAsLoopback(t *testing.T) {
	b := start(t, devbroker.Config{Listen: "0.0.0.0:0", Brokers: 2})
	meta, err := kadm.NewClient(client(t, b)).BrokerMetadata(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(meta.Brokers) != 2 {
		t.Errorf("the cluster has %d brokers, want 2", len(meta.Brokers))
	}
	for _, d := range meta.Brokers {
		if d.Host != "127.0.0.1" {
			t.Errorf("broker %d is advertised at %q, want 127.0.0.1", d.NodeID, d.Host)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	b := start(t, devbroker.Config{Topics: map[string]int{"orders": 1}, RetentionBytes: 2 << 20})
	ctx := testContext(t)
	cl := client(t, b)
	adm := kadm.NewClient(cl)
	value := bytes.Repeat([]byte("x"), 100<<10)
	for moved := false; !moved; {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: value}).FirstErr(); err != nil {
			t.Fatalf("the start of the log never moved: %v", err)
		}
		starts, err := adm.ListStartOffsets(ctx, "orders")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := starts.Lookup("orders", 0)
		moved = o.Offset > 0
	}
}

func TestConfigErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for name, tc := range map[string]struct {
		cfg  devbroker.Config
		want string
	}{
		"brokers":    {devbroker.Config{Brokers: 99}, "Brokers is 99"},
		"partitions": {devbroker.Config{Partitions: -1}, "Partitions is -1"},
		"listen":     {devbroker.Config{Listen: "nowhere"}, `Listen is "nowhere"`},
		"port":       {devbroker.Config{Listen: "127.0.0.1:65535"}, "leave room for 3 brokers"},
		"topic":      {devbroker.Config{Topics: map[string]int{"a": -1}}, `Topics has "a"`},
		"busy":       {devbroker.Config{Listen: busy.Addr().String()}, "choose another address"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := devbroker.Start(tc.cfg)
			if err == nil {
				b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// It refuses what Kafka refuses by default, from clients that name topics and from those that send
// their ids.
func TestTimestampsTooFarAheadAreRefused(t *testing.T) {
	for name, versions := range map[string]*kversion.Versions{"ids": kversion.Stable(), "names": kversion.V4_0_0()} {
		t.Run(name, func(t *testing.T) {
			b := start(t, devbroker.Config{Brokers: 1, Topics: map[string]int{"t": 1}})
			cl := client(t, b, kgo.MaxVersions(versions))
			produce := func(at time.Time) error {
				return cl.ProduceSync(testContext(t), &kgo.Record{Topic: "t", Timestamp: at}).FirstErr()
			}
			if err := produce(time.Now().Add(2 * time.Hour)); !errors.Is(err, kerr.InvalidTimestamp) {
				t.Errorf("two hours ahead: %v", err)
			}
			if err := produce(time.Now().Add(time.Minute)); err != nil {
				t.Errorf("a minute ahead: %v", err)
			}
		})
	}
}
