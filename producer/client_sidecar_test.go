package producer_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar"
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
	for deadline := time.Now().Add(producertest.Patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return stop
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sidecar does not listen: %v", err)
		}
	}
}

// noClientGoroutines demands that nothing of the client and its connection runs; what the sidecar
// beside it does is its own matter.
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

// The sidecar is restarted again and again under load: nothing is lost, every unit is reported
// once, first occurrences keep their order.
func TestSidecarRestarts(t *testing.T) {
	b := newBroker(t)
	socket := filepath.Join(t.TempDir(), "s", "sidecar.sock")
	stop := startSidecar(t, b, socket)
	p := producer.DialConfig{Target: "unix://" + socket, App: "test", Logger: slog.New(slog.DiscardHandler)}.New()

	const restarts, keys = 4, 7
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	over := make(chan struct{})
	var list []*producertest.Recorder
	var next [keys]int
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			units := make([]producer.Unit, 50)
			for i := range units {
				k := i % keys
				units[i].Outputs = []producer.Record{{Topic: producertest.TopicA, Key: fmt.Appendf(nil, "k%d", k), Value: fmt.Append(nil, next[k])}}
				next[k]++
			}
			r := producertest.NewRecorder(len(units))
			if err := p.Deliver(ctx, units, r); err != nil {
				t.Errorf("Deliver: %v", err)
				return
			}
			list = append(list, r)
			if next[0]%1000 < 8 { // a look at the log, so that restarts meet every state
				_ = p.Flush(ctx)
			}
		}
	})
	for range restarts {
		if _, err := p.Emit(ctx, producer.Record{Topic: producertest.TopicB, Key: []byte("k"), Value: []byte("alive")}); err != nil {
			t.Fatal(err)
		}
		stop()
		stop = startSidecar(t, b, socket)
	}
	close(over)
	wg.Wait()
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, r := range list {
		if err := r.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		for i, f := range r.Fates() {
			if f.Err != nil {
				t.Fatalf("unit %d: %v", i, f.Err)
			}
		}
	}
	repeated := 0
	seen := map[string]int{}
	for _, r := range b.Records(t, producertest.TopicA) {
		v, _ := strconv.Atoi(string(r.Value))
		switch key := string(r.Key); {
		case v > seen[key]:
			t.Fatalf("%s: %d came before %d (S7)", key, v, seen[key])
		case v == seen[key]:
			seen[key]++
		default:
			repeated++
		}
	}
	total := 0
	for k := range keys {
		total += next[k]
		if key := fmt.Sprintf("k%d", k); seen[key] != next[k] {
			t.Errorf("%s: %d of %d are in the log", key, seen[key], next[k])
		}
	}
	t.Logf("%d outputs, %d repeated after %d restarts", total, repeated, restarts)
}
