package operate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// every is how often the Prometheus of a test scrapes and evaluates.
const every = 500 * time.Millisecond

// minutes finds the durations in rules: ranges, offsets and what an alert waits for.
var minutes = regexp.MustCompile(`(\[|offset |for: )(\d+)([mh])`)

// hasten makes rules that need seconds of those that need minutes. It is the one thing in which
// what runs here differs from deploy/prometheus: a minute becomes a second and an hour a minute,
// everywhere.
func hasten(text string) string {
	return minutes.ReplaceAllStringFunc(text, func(s string) string {
		m := minutes.FindStringSubmatch(s)
		return m[1] + m[2] + map[string]string{"m": "s", "h": "m"}[m[3]]
	})
}

// prometheus is a server of Debian's package, on loopback.
type prometheus struct {
	*testing.T
	address string
	client  http.Client
}

// startPrometheus scrapes the targets, by job, and evaluates the hastened rules.
func startPrometheus(t *testing.T, targets map[string]string) *prometheus {
	t.Helper()
	program, dir := tool(t, "prometheus"), t.TempDir()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &prometheus{T: t, address: lis.Addr().String()}
	_ = lis.Close()

	config := fmt.Sprintf("global: {scrape_interval: %s, evaluation_interval: %s}\nrule_files: [ackmark.rules.yaml]\nscrape_configs:\n", every, every)
	for job, target := range targets {
		config += fmt.Sprintf("  - {job_name: %s, static_configs: [{targets: [%q]}]}\n", job, target)
	}
	for name, text := range map[string]string{"prometheus.yml": config, "ackmark.rules.yaml": hasten(read(t, rules))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			t.Logf("prometheus:\n%s", read(t, log.Name()))
		}
	})
	p.await("that Prometheus is ready", func() bool {
		answer, err := p.client.Get("http://" + p.address + "/-/ready")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return p
}

// await waits for something, as long as the test may run.
func (p *prometheus) await(what string, is func() bool) {
	p.Helper()
	ctx := p.Context()
	if end, bounded := p.Deadline(); bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-10*time.Second)) // to say what was waited for
		defer cancel()
	}
	tick := time.NewTicker(every / 5)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.Fatalf("waited in vain for: %s; alerts: %v", what, p.alerts("pending", "firing"))
		}
	}
}

// ask answers a path of the API, and what it says is wrong.
func (p *prometheus) ask(path string, data any) error {
	answer, err := p.client.Get("http://" + p.address + "/api/v1/" + path)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	var body struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	if body.Status != "success" {
		return fmt.Errorf("%s: %s", body.Status, body.Error)
	}
	return json.Unmarshal(body.Data, data)
}

// count tells how many series a query answers with.
func (p *prometheus) count(query string) (int, error) {
	var data struct{ Result []any }
	err := p.ask("query?query="+url.QueryEscape(query), &data)
	return len(data.Result), err
}

// value is the one number that a query answers with; 0: it has none.
func (p *prometheus) value(query string) (n float64, err error) {
	var data struct {
		Result []struct{ Value [2]json.RawMessage }
	}
	if err := p.ask("query?query="+url.QueryEscape(query), &data); err != nil || len(data.Result) == 0 {
		return 0, err
	}
	if len(data.Result) > 1 {
		return 0, fmt.Errorf("%s: %d answers", query, len(data.Result))
	}
	return strconv.ParseFloat(strings.Trim(string(data.Result[0].Value[1]), `"`), 64)
}

// answers waits until each of these queries of the dashboard has an answer of job "pod".
func (p *prometheus) answers(t *testing.T, of func(expr string) bool) {
	fill := strings.NewReplacer("$__rate_interval", "5s", "$job", "pod", "$group", ".*")
	n := 0
	for title, exprs := range queries(t) {
		for _, expr := range exprs {
			if !of(expr) {
				continue
			}
			n++
			var failed error
			p.await("data for "+title+": "+expr, func() bool { // rates need two scrapes
				n, err := p.count(fill.Replace(expr))
				failed = err
				return err != nil || n > 0
			})
			if failed != nil {
				t.Errorf("%s: %s: %v", title, expr, failed)
			}
		}
	}
	if n == 0 {
		t.Error("the dashboard has no such query")
	}
}

// alerts are those of job "pod" in one of the states.
func (p *prometheus) alerts(states ...string) (names []string) {
	var data struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	if err := p.ask("alerts", &data); err != nil {
		p.Fatal(err)
	}
	for _, a := range data.Alerts {
		if a.Labels["job"] == "pod" && strings.Contains(strings.Join(states, " "), a.State) {
			names = append(names, a.Labels["alertname"])
		}
	}
	return names
}

func (p *prometheus) fires(name string) bool {
	for _, firing := range p.alerts("firing") {
		if firing == name {
			return true
		}
	}
	return false
}

// awaitAll waits until all of these alerts fire, or none does.
func (p *prometheus) awaitAll(firing bool, names ...string) {
	p.Helper()
	for _, name := range names {
		p.await(fmt.Sprintf("%s, firing: %v", name, firing), func() bool { return p.fires(name) == firing })
	}
}

// Only durations change.
func TestHasten(t *testing.T) {
	if quick := hasten(read(t, rules)); strings.Contains(quick, "[10m]") || strings.Contains(quick, "for: 5m") {
		t.Error("durations are what they were")
	}
	for from, to := range map[string]string{"[5m]": "[5s]", "[1h]": "[1m]", "offset 10m": "offset 10s", "for: 15m": "for: 15s", "rate5m": "rate5m", "0.5 # yours": "0.5 # yours"} {
		if got := hasten(from); got != to {
			t.Errorf("%q becomes %q, want %q", from, got, to)
		}
	}
}
