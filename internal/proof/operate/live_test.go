package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/admin"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/kept"
	"github.com/ackmark/ackmark/internal/telemetry/exporter"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// pod is an app and its sidecar in this process, whose metrics are served as a pod's are.
type pod struct {
	*testing.T
	kafka   *kfake.Cluster
	metrics *exporter.Exporter
	socket  string
	address string // of its metrics

	mu   sync.Mutex
	hold chan struct{} // handlers wait until it is closed

	feeding sync.Mutex // held while an input is written
	fed     int        // inputs that are written
}

// startPod starts one; change may be nil.
func startPod(t *testing.T, kafka *kfake.Cluster, change func(*sidecar.Config, *pipeline.Config)) *pod {
	p := &pod{T: t, kafka: kafka, metrics: export(t)}
	quiet := slog.New(slog.DiscardHandler)

	socket := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	p.socket = "unix://" + socket
	ofSidecar, ofApp := p.sidecarConfig(lis, quiet), p.pipelineConfig(quiet)
	if change != nil {
		change(&ofSidecar, &ofApp)
	}
	s, err := sidecar.New(ofSidecar)
	if err != nil {
		t.Fatal(err)
	}
	p.run("the sidecar", s.Run)
	served := httptest.NewServer(admin.Handler(admin.Config{Source: s, Metrics: p.metrics.Handler()}))
	t.Cleanup(served.Close)
	p.address = served.Listener.Addr().String()

	app, err := pipeline.New(ofApp)
	if err != nil {
		t.Fatal(err)
	}
	p.run("the app", app.Run)
	p.run("the traffic", p.feed)
	return p
}

func startKafka(t *testing.T) *kfake.Cluster {
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out", "letters"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	return kafka
}

func (p *pod) sidecarConfig(lis net.Listener, log *slog.Logger) sidecar.Config {
	return sidecar.Config{
		Brokers: p.kafka.ListenAddrs(), Listener: lis, Logger: log, MeterProvider: p.metrics.MeterProvider(),
		Apps:        []sidecar.App{{Name: "app", Topics: []string{"out", "letters"}}},
		MaxSessions: 2, MaxRecords: 1000, // a quarter of it may wait for the one partition: ten seconds
	}
}

func (p *pod) pipelineConfig(log *slog.Logger) pipeline.Config {
	return pipeline.Config{
		Consumer: consumer.Config{
			Brokers: p.kafka.ListenAddrs(), Group: "billing", Topics: []string{"in"}, CommitEvery: 100 * time.Millisecond, MeterProvider: p.metrics.MeterProvider(),
		},
		Producer:      producer.DialConfig{Target: p.socket, App: "app", Logger: log, MeterProvider: p.metrics.MeterProvider()}.New(),
		DeadLetter:    pipeline.DeadLetter{Topic: "letters"},
		MeterProvider: p.metrics.MeterProvider(), Logger: log,
		Handler: pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
			select {
			case <-p.held():
				return []producer.Record{{Topic: "out", Value: in.Value}}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}),
	}
}

// stray emits a record to a topic that the app may not write to.
func (p *pod) stray() (producer.Ack, error) {
	cl := producer.DialConfig{Target: p.socket, App: "app", Logger: slog.New(slog.DiscardHandler)}.New()
	p.Cleanup(func() { _ = cl.Close() })
	return cl.Emit(p.Context(), producer.Record{Topic: "forbidden"})
}

// halt starts another app, which rejects its first input and has no place for it.
func (p *pod) halt() {
	quiet := slog.New(slog.DiscardHandler)
	app, err := pipeline.New(pipeline.Config{
		Consumer: consumer.Config{Brokers: p.kafka.ListenAddrs(), Group: "halts", Topics: []string{"in"}, MeterProvider: p.metrics.MeterProvider()},
		Logger:   quiet,
		Handler: pipeline.HandlerFunc(func(context.Context, *consumer.Message) ([]producer.Record, error) {
			return nil, pipeline.Reject(errors.New("no"))
		}),
	})
	if err != nil {
		p.Fatal(err)
	}
	p.run("the app that halts", func(ctx context.Context) error {
		if err := app.Run(ctx); err == nil || !strings.Contains(err.Error(), "halted") {
			return fmt.Errorf("not halted: %w", err)
		}
		return nil
	})
}

// run runs something until the test ends. What started last ends first.
func (p *pod) run(what string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	p.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			p.Errorf("%s ended with %v", what, err)
		}
	})
}

// feed writes an input now and then.
func (p *pod) feed(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.ListenAddrs()...), kgo.DefaultProduceTopic("in"))
	if err != nil {
		return err
	}
	defer cl.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.feeding.Lock()
			err := cl.ProduceSync(context.Background(), kgo.StringRecord("v")).FirstErr()
			p.fed++
			p.feeding.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// pause writes no inputs until resume is called; it tells how many there are.
func (p *pod) pause() (inputs int, resume func()) {
	p.feeding.Lock()
	return p.fed, p.feeding.Unlock
}

// held is closed while handlers need not wait.
func (p *pod) held() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold == nil {
		p.hold = make(chan struct{})
		close(p.hold)
	}
	return p.hold
}

// block makes handlers wait until release is called.
func (p *pod) block() (release func()) {
	hold := make(chan struct{})
	p.mu.Lock()
	p.hold = hold
	p.mu.Unlock()
	return func() { close(hold) }
}

func export(t *testing.T) *exporter.Exporter {
	t.Helper()
	e, err := exporter.New(t.Context(), exporter.Config{Service: "pod", Version: "v1", Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Shutdown(context.Background()) })
	return e
}

// What a healthy pod, which is at-least-once, has no values for is asked where it has: after the
// faults of TestPrometheus, where there are transactions, and of a demo whose processes are killed.
var (
	ofFaults       = regexp.MustCompile(`error_type!=""|ackmark_(client_retried_batches|dead_letters|client_refused_messages|sidecar_refusals)_total|ackmark_partition_paused`)
	ofTransactions = regexp.MustCompile(`ackmark_transaction`)
	ofWills        = regexp.MustCompile(`ackmark_sidecar_will_duration_seconds`)
)

func ofHealth(expr string) bool {
	return !ofFaults.MatchString(expr) && !ofTransactions.MatchString(expr) && !ofWills.MatchString(expr)
}

// rated finds the rates of a panel, to look at what they are of.
var rated = regexp.MustCompile(`rate\(([^()]*)\[\$__rate_interval\]\)`)

// A real Prometheus scrapes a running pod. Every query of the dashboard answers, after the faults
// those of faults, too, and every rule is evaluated; nothing fires while all is well; faults make
// their alerts fire, and mended they resolve.
func TestPrometheus(t *testing.T) {
	tool(t, "prometheus")
	if testing.Short() {
		t.Skip("a minute: windows of ten seconds have to pass")
	}
	x := startPod(t, startKafka(t), nil)
	p := startPrometheus(t, map[string]string{"pod": x.address})
	p.await("the pod's metrics", func() bool {
		n, err := p.count(`ackmark_partition_oldest_offset{job="pod"} > 0`)
		return err == nil && n > 0
	})

	t.Run("dashboard", func(t *testing.T) { p.answers(t, ofHealth) })

	// The pod's one target tells what its app and its sidecar count: each of its records counts
	// once, in every query of a panel.
	t.Run("once", func(t *testing.T) {
		n, resume := x.pause()
		defer resume()
		for _, expr := range queries(t)["Records attempted and acknowledged"] {
			query := strings.ReplaceAll(rated.ReplaceAllString(expr, "$1"), "$job", "pod")
			var got float64
			p.await("records that are counted: "+query, func() bool {
				var err error
				if got, err = p.value(query); err != nil {
					t.Fatal(err)
				}
				return got >= float64(n)
			})
			if got != float64(n) {
				t.Errorf("%s counts %v records, there are %d", expr, got, n)
			}
		}
	})

	t.Run("rules", func(t *testing.T) {
		var data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		if err := p.ask("rules", &data); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				n++
				if r.Health != "ok" {
					t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
				}
			}
		}
		if n != len(readRules(t)) {
			t.Errorf("%d rules are loaded", n)
		}
	})

	p.await("no alert of a healthy pod", func() bool { return len(p.alerts("firing")) == 0 })

	// Two faults at the same time: a file of credentials that is written by halves, and a handler
	// that hangs.
	token := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"token":"t"}`)
	k, err := kept.New("the token", func() (said map[string]string, err error) {
		text, err := os.ReadFile(token)
		if err == nil {
			err = json.Unmarshal(text, &said)
		}
		return said, err
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	write(`{"token":`)
	if said := k.Current()["token"]; said != "t" {
		t.Fatalf("token %q", said)
	}
	release := x.block()
	p.awaitAll(true, "AckmarkCredentialsStale", "AckmarkMarkStalled")
	write(`{"token":"u"}`)
	release()
	p.awaitAll(false, "AckmarkCredentialsStale", "AckmarkMarkStalled")

	// Then the brokers take nothing: records wait, are acknowledged no more, hold the mark and fill
	// the queue.
	sick := x.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out", Err: kerr.NotEnoughReplicas, Count: -1})
	waits := []string{"AckmarkAckRatioFast", "AckmarkMarkStalled", "AckmarkQueueNearLimit", "AckmarkQueueFull"}
	p.awaitAll(true, waits...)
	sick.Remove()
	p.awaitAll(false, waits...)

	// And what is for good: records that no broker takes, which become dead letters, one for a
	// topic that is not the app's, and an input that another app halts at.
	strict := x.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "out", Err: kerr.InvalidRecord, Count: -1})
	p.await("a dead letter", func() bool {
		n, err := p.value(`sum(ackmark_dead_letters_total{job="pod"})`)
		return err == nil && n > 0
	})
	strict.Remove()
	if _, err := x.stray(); err == nil {
		t.Error("a record for a topic that is not the app's is taken")
	}
	x.halt()
	t.Run("dashboard after faults", func(t *testing.T) { p.answers(t, ofFaults.MatchString) })
	p.awaitAll(true, "AckmarkDeadLetters", "AckmarkPartitionHalted")
}
