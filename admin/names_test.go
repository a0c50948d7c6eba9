package admin_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ackmark/ackmark/admin"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/telemetry/exporter"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// legal are all characters that the name of a topic or an app may have.
const legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// Topics and apps with every character that their names may have, the longest ones, and names that
// are something else in other languages, come through a sidecar as they are: to Kafka, into the
// routes, the state and the metrics.
func TestEveryLegalName(t *testing.T) {
	odd := []string{legal, "-", "_", "...", "-rf", "__proto__", "constructor", "toString", "true", "null", "0x1F", "1e9", "NaN", "a.b_c-d"}
	topics := append(slices.Clone(odd), strings.Repeat(legal, 4)[:249])
	apps := append(slices.Clone(odd), strings.Repeat(legal, 2)[:128])
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	metrics, err := exporter.New(t.Context(), exporter.Config{Service: "ackmark-sidecar", Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = metrics.Shutdown(t.Context()) })
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.MeterProvider = metrics.MeterProvider()
		for i, app := range apps {
			c.Apps = append(c.Apps, sidecar.App{Name: app, Topics: []string{topics[i]}})
			c.Routes = append(c.Routes, sidecar.Route{App: app, Topic: topics[i], By: "sidecar:10"})
		}
	})
	for i, app := range apps {
		p := producer.DialConfig{Target: sc.Target, App: app}.New()
		if _, err := p.Emit(t.Context(), producer.Record{Topic: topics[i], Value: []byte("x")}); err != nil {
			t.Errorf("app %q, topic %q: %v", app, topics[i], err)
		}
		if _, err := p.Emit(t.Context(), producer.Record{Topic: topics[(i+1)%len(topics)], Value: []byte("x")}); err == nil {
			t.Errorf("app %q writes to the topic of another", app)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	pod := status(t, sc)
	for i, app := range apps {
		if !slices.ContainsFunc(pod.Routes, func(r podstate.Route) bool { return r.App == app && r.Topic == topics[i] }) {
			t.Errorf("no route of app %q and topic %q", app, topics[i])
		}
	}
	answer := httptest.NewRecorder()
	handler := admin.Handler(admin.Config{Source: sc, Metrics: metrics.Handler()})
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "http://localhost/metrics", http.NoBody))
	counted := map[string]bool{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, "messaging_client_sent_messages_total{") && strings.HasSuffix(line, " 1") {
			counted[label(line, "ackmark_app")+" "+label(line, "messaging_destination_name")] = true
		}
	}
	for i, app := range apps {
		if !counted[app+" "+topics[i]] {
			t.Errorf("no series of app %q and topic %q", app, topics[i])
		}
	}
}

// label is the value of a label in a line of metrics.
func label(line, name string) string {
	_, rest, _ := strings.Cut(line, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
