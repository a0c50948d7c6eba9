package perfguard

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

const (
	guardEnv  = "ACKMARK_PERF_GUARD"
	baseline  = "baseline.json"
	tolerance = 0.05

	atOnce   = 1000 // units of one call; the next one waits until all are acknowledged
	warmUp   = 20   // calls
	measured = 100
	runs     = 3
)

// figures of a job, by name.
type figures map[string]float64

// The counts of the fixed jobs are those of the file, within 5 %.
func TestGuard(t *testing.T) {
	how := os.Getenv(guardEnv)
	if how == "" {
		t.Skip("compares counts of this Go version when asked: make perf-guard")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one order of goroutines
	now := map[string]figures{"direct": typical(t, false), "sidecar": typical(t, true)}
	if how == "write" {
		text, err := json.MarshalIndent(now, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(baseline, append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(baseline)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]figures
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for job, list := range want {
		for name, was := range list {
			t.Logf("%-8s %-30s %10.3f, in the file %10.3f", job, name, now[job][name], was)
		}
		for _, what := range differences(now[job], list) {
			t.Errorf("%s: %s: mend it, or write it down (%s=write)", job, what, guardEnv)
		}
	}
}

// differences names the figures that are not those of the file.
func differences(now, want figures) (all []string) {
	for name, was := range want {
		if is := now[name]; math.Abs(is-was) > tolerance*was {
			all = append(all, fmt.Sprintf("%.3f %s, %.3f in %s", is, name, was, baseline))
		}
	}
	return all
}

// What is worse or better by more than 5 % is named; what is missing, too.
func TestDifferences(t *testing.T) {
	want := figures{"a": 100, "b": 0.1}
	for _, x := range []struct {
		now  figures
		want int
	}{
		{figures{"a": 104, "b": 0.1}, 0}, {figures{"a": 96, "b": 0.104}, 0},
		{figures{"a": 106, "b": 0.1}, 1}, {figures{"a": 94, "b": 0.12}, 2}, {figures{"a": 100}, 1},
	} {
		if got := differences(x.now, want); len(got) != x.want {
			t.Errorf("%v: %q, want %d differences", x.now, got, x.want)
		}
	}
}

// typical is the median of some runs: now and then a pool is found empty.
func typical(t *testing.T, bySidecar bool) figures {
	all := map[string][]float64{}
	for range runs {
		for name, value := range run(t, bySidecar) {
			all[name] = append(all[name], value)
		}
	}
	out := figures{}
	for name, values := range all {
		slices.Sort(values)
		out[name] = values[len(values)/2]
	}
	return out
}

// run delivers the same units call by call, and counts from after the warm-up.
func run(t *testing.T, bySidecar bool) (out figures) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(network.Listen), kfake.SeedTopics(6, "out"), kfake.BlackholeProduce())
		if err != nil {
			t.Fatal(err)
		}
		defer kafka.Close()
		j := &job{brokers: kafka.ListenAddrs()}
		j.options = []kgo.Opt{kgo.Dialer(network.DialContext), kgo.WithHooks(j), kgo.DisableClientMetrics()}
		if bySidecar {
			defer j.startSidecar(t)()
		} else {
			j.producer = producer.Direct(producer.DirectConfig{Brokers: j.brokers, Options: j.options, Logger: quiet})
		}
		out = j.measure(t)
		if err := j.producer.Close(); err != nil {
			t.Error(err)
		}
	})
	return out
}

var quiet = slog.New(slog.DiscardHandler)

// job is a producer, and what is counted of it.
type job struct {
	brokers  []string
	options  []kgo.Opt
	producer producer.Producer
	conn     *countingConn // nil: direct
	requests atomic.Int64
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (j *job) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == int16(kmsg.Produce) {
		j.requests.Add(1)
	}
}

func (j *job) startSidecar(t *testing.T) (stop func()) {
	lis := bufconn.Listen(1 << 20)
	s, err := sidecar.New(sidecar.Config{Brokers: j.brokers, Options: j.options, Listener: lis, Logger: quiet, MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	j.producer = producer.DialConfig{Target: "guard", App: "guard", Logger: quiet, Dialer: func(ctx context.Context) (net.Conn, error) {
		c, err := lis.DialContext(ctx)
		if err != nil {
			return nil, err
		}
		j.conn = &countingConn{Conn: c}
		return j.conn, nil
	}}.New()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func (j *job) measure(t *testing.T) figures {
	units := make([]producer.Unit, atOnce)
	for i := range units {
		units[i].Outputs = []producer.Record{{Topic: "out", Key: fmt.Appendf(nil, "key-%04d", i), Value: make([]byte, 100)}}
	}
	call := func() {
		r := &reporter{t: t}
		r.left.Add(len(units))
		if err := j.producer.Deliver(t.Context(), units, r); err != nil {
			t.Fatal(err)
		}
		r.left.Wait()
	}
	for range warmUp {
		call()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // or pools would be emptied at some moment
	runtime.GC()
	var before, after runtime.MemStats
	requests, up, down := j.requests.Load(), int64(0), int64(0)
	if j.conn != nil {
		up, down = j.conn.up.data.Load(), j.conn.down.data.Load()
	}
	runtime.ReadMemStats(&before)
	for range measured {
		call()
	}
	runtime.ReadMemStats(&after)
	const records = atOnce * measured
	out := figures{
		"allocations per record":       float64(after.Mallocs-before.Mallocs) / records,
		"bytes per record":             float64(after.TotalAlloc-before.TotalAlloc) / records,
		"produce requests per million": float64(j.requests.Load()-requests) / records * 1e6,
	}
	if j.conn != nil {
		out["messages up per million"] = float64(j.conn.up.data.Load()-up) / records * 1e6
		out["report messages per million"] = float64(j.conn.down.data.Load()-down) / records * 1e6
	}
	return out
}

// reporter waits for all units of a call.
type reporter struct {
	t    *testing.T
	left sync.WaitGroup
}

func (r *reporter) Acked(_, n int) { r.left.Add(-n) }

func (r *reporter) Failed(_ int, err *producer.Error) {
	r.t.Error(err)
	r.left.Done()
}
