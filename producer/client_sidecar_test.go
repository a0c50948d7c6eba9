package producer_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/twmb/franz-go/pkg/kgo"
)

// startSidecar runs a real sidecar on a unix socket, until the test ends or stop is called.
func startSidecar(t *testing.T, b *broker, socket string) (stop func()) {
	t.Helper()
	s, err := sidecar.New(sidecar.Config{Brokers: b.ListenAddrs(), Listen: "unix://" + socket, Linger: -1, DrainTimeout: time.Second,
		Options: []kgo.Opt{kgo.MetadataMinAge(10 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond })},
		Logger:  slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-ended
		}
	}
	t.Cleanup(stop)
	return stop
}

// noClientGoroutines demands that nothing of the client and its connection runs; what the sidecar beside it does is its own matter.
func noClientGoroutines(t *testing.T) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) { // goroutines that are ending end soon
		var left []string
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "ackmark/producer.(*client)") || strings.Contains(g, "ackmark/producer.(*stream)") ||
				strings.Contains(g, "transport.(*http2Client)") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines left behind:\n%s", strings.Join(left, "\n\n"))
		}
	}
}

// The client and the sidecar that ships with it, over a unix socket.
func TestSidecarConformance(t *testing.T) {
	producertest.Run(t, func(t *testing.T) producertest.Harness {
		b := newBroker(t)
		socket := filepath.Join(t.TempDir(), "s", "sidecar.sock")
		startSidecar(t, b, socket)
		return producertest.Harness{
			BadTopic: badTopic, BadCode: "UNKNOWN_TOPIC_OR_PARTITION", NoOffsets: true, Stall: b.Stall, Records: b.Records, CheckLeaks: noClientGoroutines,
			New: func(t *testing.T, o producertest.Options) producer.Producer {
				return producer.DialConfig{Target: "unix://" + socket, App: "test", MaxBufferedRecords: o.MaxRecords, OnFull: o.OnFull,
					CloseTimeout: o.CloseTimeout, Logger: slog.New(slog.DiscardHandler)}.New()
			},
		}
	})
}
