package exporter

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/telemetry"
)

func start(t *testing.T, cfg Config) *Exporter {
	t.Helper()
	cfg.Service, cfg.Version = "ackmark-sidecar", "v1"
	e, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return e
}

func scrape(t *testing.T, e *Exporter) string {
	t.Helper()
	answer := httptest.NewRecorder()
	e.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// everything gives each row of the table a value with all of its attributes.
func everything(e *Exporter) {
	part := telemetry.New(e.MeterProvider(), "part")
	set := func(m *telemetry.Metric) (all []attribute.KeyValue) {
		for _, key := range m.Attributes {
			all = append(all, key.String("a.b-c_d"))
		}
		return all
	}
	var observed []*telemetry.Metric
	for _, m := range telemetry.Metrics {
		if m.Kind != telemetry.Histogram {
			observed = append(observed, m)
			continue
		}
		part.Histogram(m, set(m)...).Time(time.Second)
	}
	part.Observe(func(r *telemetry.Reading) {
		for _, m := range observed {
			switch m.Unit {
			case "s":
				r.Time(m, time.Second, attribute.NewSet(set(m)...))
			case "1":
				r.Share(m, 0.5, attribute.NewSet(set(m)...))
			default:
				r.Count(m, 1, attribute.NewSet(set(m)...))
			}
		}
	}, observed...)
}

// The SDK folds nothing of as many partitions as are told apart, each with its repeats by cause.
func TestAllSeriesOfThePartitionsAreTold(t *testing.T) {
	e := start(t, Config{})
	causes := []string{"lost", "abandoned", "uncommitted"}
	telemetry.New(e.MeterProvider(), "part").Observe(func(r *telemetry.Reading) {
		for p := range int32(telemetry.MaxPartitions) {
			for _, cause := range causes {
				r.Partition("in", p, telemetry.Reason.String(cause)).Count(telemetry.Repeats, 1)
			}
		}
	}, telemetry.Repeats)
	text := scrape(t, e)
	if n := strings.Count(text, "\n"+telemetry.Repeats.InPrometheus()+"{"); n != telemetry.MaxPartitions*len(causes) || strings.Contains(text, "overflow") {
		t.Errorf("%d series of %d partitions by %d causes, overflow: %v", n, telemetry.MaxPartitions, len(causes), strings.Contains(text, "overflow"))
	}
}

// What is scraped has the names that docs/metrics.md shows, which a test of package telemetry
// compares with the table.
func TestTheDocsHaveTheScrapedNames(t *testing.T) {
	e := start(t, Config{})
	everything(e)
	scraped := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE ((?:messaging|ackmark)_\w+) `).FindAllStringSubmatch(scrape(t, e), -1) {
		scraped[m[1]] = true
	}
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:messaging|ackmark)_\\w+)`").FindAllStringSubmatch(string(page), -1) {
		shown[m[1]] = true
		if !scraped[m[1]] {
			t.Errorf("docs/metrics.md has %s, which is not scraped", m[1])
		}
	}
	for name := range scraped {
		if !shown[name] {
			t.Errorf("%s is scraped, and not in docs/metrics.md", name)
		}
	}
	if len(scraped) != len(telemetry.Metrics) {
		t.Errorf("%d names of %d rows", len(scraped), len(telemetry.Metrics))
	}
}

// goroutines is what OpenTelemetry's convention calls a gauge, and Prometheus would not.
const goroutines = "go_goroutine_count non-histogram and non-summary metrics should not have \"_count\" suffix\n"

// Prometheus's own linter has nothing to say about any name, but for one of the Go runtime.
func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: apt-get install prometheus")
	}
	e := start(t, Config{})
	everything(e)
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(scrape(t, e))
	var out bytes.Buffer
	check.Stdout, check.Stderr = &out, &out
	err = check.Run()
	if said := strings.ReplaceAll(out.String(), goroutines, ""); said != "" || err != nil && out.Len() == 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, said)
	}
}

func TestTheResourceSaysWhichPodItIs(t *testing.T) {
	e := start(t, Config{Getenv: func(name string) string {
		return map[string]string{"POD_NAME": "orders-1", "POD_NAMESPACE": "shop", "NODE_NAME": "node-7"}[name]
	}})
	text := scrape(t, e)
	for _, want := range []string{`service_name="ackmark-sidecar"`, `service_version="v1"`, `k8s_pod_name="orders-1"`, `k8s_namespace_name="shop"`, `k8s_node_name="node-7"`, "go_goroutine_count"} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape does not have %s", want)
		}
	}
}

func TestOTLPIsSentWhereAnEndpointIsNamed(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x:4318"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_METRICS_EXPORTER": "none"}, false},
		{map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, false},
		{map[string]string{"OTEL_METRICS_EXPORTER": "otlp"}, true},
	} {
		if got := pushes(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
}

// A collector gets what was counted, at the latest when the process ends.
func TestACollectorGetsTheMetrics(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		select {
		case got <- r.URL.Path + string(body):
		default:
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	e, err := New(t.Context(), Config{Service: "ackmark-sidecar"})
	if err != nil {
		t.Fatal(err)
	}
	everything(e)
	if err := e.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body := <-got; !strings.HasPrefix(body, "/v1/metrics") || !strings.Contains(body, telemetry.Sent.Name) {
		t.Errorf("the collector got %.200q", body)
	}
}

// Who scrapes while the process ends gets an answer each time.
func TestScrapesDuringShutdown(t *testing.T) {
	e, err := New(t.Context(), Config{Service: "ackmark-sidecar"})
	if err != nil {
		t.Fatal(err)
	}
	everything(e)
	served := httptest.NewServer(e.Handler())
	defer served.Close()
	ended := make(chan error, 1)
	go func() { ended <- e.Shutdown(t.Context()) }()
	for over := false; !over; {
		select {
		case err := <-ended: // and once more, when it has
			if over = true; err != nil {
				t.Error(err)
			}
		default:
		}
		answer, err := served.Client().Get(served.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s, %v", answer.Status, err)
		}
		answer.Body.Close()
	}
}
