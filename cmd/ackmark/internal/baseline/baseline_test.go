package baseline

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a page with the JMX exporter's names says, with and without its example rules for Kafka.
func TestReadPage(t *testing.T) {
	text := `# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.
process_cpu_seconds_total 12.5
jvm_memory_used_bytes{area="heap"} 1.5E8
jvm_memory_used_bytes{area="nonheap"} 9.9E7
jvm_gc_collection_seconds_sum{gc="G1 Young Generation"} 0.25
jvm_gc_collection_seconds_sum{gc="G1 Old Generation"} 0.5
kafka_server_socket_server_metrics_connection_count{listener="PLAIN \"1\"",networkProcessor="0"} 7
kafka_server_socket_server_metrics_connection_count{listener="PLAIN",networkProcessor="1"} 5
kafka_network_requestmetrics_requests_total{request="Produce",version="11"} 100
kafka_network_requestmetrics_requests_total{request="Fetch",version="17"} 9000
kafka_network_requestmetrics_requestqueuetimems_count{request="Produce"} 77
nonsense{
`
	r := readPage(ParseText(text), "url")
	for name, x := range map[string]struct {
		got  *float64
		want float64
	}{"cpu": {r.CPU, 12.5}, "heap": {r.Heap, 1.5e8}, "gc": {r.GC, 0.75}, "connections": {r.Connections, 12}, "produce": {r.Produce, 100}} {
		if x.got == nil || *x.got != x.want {
			t.Errorf("%s: %v, want %v", name, x.got, x.want)
		}
	}
	if r = readPage(ParseText("kafka_network_RequestMetrics_RequestsPerSec_Count{request=\"Produce\",} 5\n"), "url"); r.Produce == nil || *r.Produce != 5 || r.CPU != nil {
		t.Errorf("without rules: %+v", r)
	}
}

func point(v float64) *float64 { return &v }

// A figure that was not measured is none: neither 0 nor a guess.
func TestWhatIsNotMeasured(t *testing.T) {
	begin := time.Now()
	end := begin.Add(4 * time.Second)
	a := outcome[Reading]{at: begin, value: Reading{CPU: point(10), Produce: point(500), Why: "told nowhere"}}
	b := outcome[Reading]{at: end, value: Reading{CPU: point(12), Produce: point(100), Why: "told nowhere"}}
	got := compareReadings("1", a, b)
	if !got.CPU.Measured() || got.CPU.Value != 0.5 || got.Produce.Measured() || !strings.Contains(got.Produce.Reason, "anew") || got.Heap.Measured() || got.Heap.Reason != "told nowhere" {
		t.Errorf("%+v", got)
	}
	if got := compareReadings("1", a, outcome[Reading]{err: errors.New("no route to host")}); got.CPU.Measured() || !strings.Contains(got.CPU.Reason, "not reached") {
		t.Errorf("%+v", got)
	}
	x, y := outcome[Counts]{value: Counts{ID: "a", Produce: 10}}, outcome[Counts]{value: Counts{ID: "b", Produce: 30}}
	if got := compareCounts([]outcome[Counts]{x}, []outcome[Counts]{y}); got.Produce.Measured() {
		t.Errorf("of a sidecar that was started anew: %+v", got)
	}
	if got := total([]Broker{{Connections: measured(3, "", "")}, {Connections: missing("", "x")}}); got.Connections.Measured() {
		t.Errorf("a sum of which a part is missing: %+v", got.Connections)
	}
}

type fakeBroker struct{ reads int }

func (*fakeBroker) Name() string { return "1" }

func (f *fakeBroker) Read(context.Context) (Reading, error) {
	f.reads++
	return Reading{From: "fake", CPU: point(float64(f.reads)), Produce: point(float64(100 * f.reads)), Connections: point(8), Why: "not known"}, nil
}

type fakeSidecar struct{ n uint64 }

func (f *fakeSidecar) Counts(context.Context) (Counts, error) {
	f.n++
	return Counts{ID: "s", Connections: 3, Produce: 10 * f.n, Records: 250 * f.n}, nil
}

func TestRecordAndCompare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := Take(t.Context(), Options{Name: "before", Window: 10 * time.Second, Brokers: []BrokerSource{new(fakeBroker)}, Sidecars: []SidecarSource{new(fakeSidecar)}}, "m")
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		after := *again
		after.Name = "after"
		after.Brokers = []Broker{again.Brokers[0]}
		after.Brokers[0].Connections.Value = 2
		c := Compare(again, &after)
		var b strings.Builder
		if err := c.Print(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"before (10 s)", "after (10 s)", "broker 1  connections             8", "× 0.25", "10.0 /s", "0.100 cores", "records a request       25", "– [1]", "[1] not measured: not known", "[2] not measured: no --probe"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("no %q in\n%s", want, b.String())
			}
		}
	})
	if _, err := Parse([]byte(`{"format": 2}`)); err == nil {
		t.Error("another format is read")
	}
}

func TestQuantiles(t *testing.T) {
	l := quantiles(map[float64]float64{0.01: 50, 0.1: 96, 1: 98, math.Inf(1): 100}, "")
	if l.P50.Value != 10 || l.P95.Value != 100 || l.P99.Measured() {
		t.Errorf("%+v", l)
	}
	var took []time.Duration
	for i := range 100 {
		took = append(took, time.Duration(100-i)*time.Millisecond)
	}
	if l := latencies(took, ""); l.P50.Value != 51 || l.P95.Value != 96 || l.P99.Value != 100 {
		t.Errorf("%+v", l)
	}
	if l := latencies(took[:12], ""); !l.P50.Measured() || l.P95.Measured() || l.P99.Measured() {
		t.Errorf("of twelve: %+v", l)
	}
}

func TestJstatAndStat(t *testing.T) {
	out := "    S0C         S1C         S0U         S1U          EC           EU           OC           OU         MC         MU       CCSC      CCSU     YGC     YGCT     FGC    FGCT     CGC    CGCT       GCT   \n" +
		"        0.0      2048.0         0.0      2048.0      16384.0       1024.0      14336.0       9728.0    23744.0    23204.8    2624.0    2399.1      4     0.016     0     0.000     2     0.002     0.018\n"
	heap, gc, err := parseGC(out)
	if err != nil || heap != 12800*1024 || gc != 0.018 {
		t.Errorf("%v, %v, %v", heap, gc, err)
	}
	if _, _, err := parseGC("S0U\n1\n"); err == nil {
		t.Error("columns are missing")
	}
	if s, err := cpuSeconds("42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0"); err != nil || s != 3 {
		t.Errorf("%v, %v", s, err)
	}
}

// A process's own connections and CPU, from a /proc that is made of files.
func TestProcess(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links")
	}
	root := t.TempDir()
	dir := filepath.Join(root, "7")
	for _, d := range []string{"fd", "net"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, inode := range []string{"100", "101", "102", "103"} {
		if err := os.Symlink("socket:["+inode+"]", filepath.Join(dir, "fd", string(rune('3'+i)))); err != nil {
			t.Fatal(err)
		}
	}
	line := func(local, state, inode string) string {
		return "  0: 0100007F:" + local + " 0100007F:9999 " + state + " 0:0 0:0 0 0 0 " + inode + " 1\n"
	}
	// 2384 is listened at: 101 and 102 are clients', 103 is the broker's own to another one, 900 a
	// stranger's.
	tcp := "  sl  local_address\n" + line("2384", "0A", "100") + line("2384", "01", "101") + line("2384", "01", "102") + line("CCCC", "01", "103") + line("2384", "01", "900") + line("2384", "06", "0")
	for name, text := range map[string]string{"net/tcp": tcp, "net/tcp6": "", "stat": "7 (java) S 1 2 3 4 5 6 7 8 9 10 100 100 0 0"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Process{"1", 7, root}.Read(t.Context())
	if err != nil || r.CPU == nil || *r.CPU != 2 || r.Connections == nil || *r.Connections != 2 || r.Produce != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := (Process{"1", 8, root}).Read(t.Context()); err == nil {
		t.Error("a process that is not there was read")
	}
	if _, err := exec.LookPath("jstat"); err != nil {
		t.Log("without jstat there is no heap and no GC")
	}
}
