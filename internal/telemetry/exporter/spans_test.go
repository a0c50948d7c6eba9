package exporter

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSpansAreMadeWhereSomebodyGetsThem(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x:4318"}, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"}, false},
	} {
		p, shutdown, err := Spans(t.Context(), Config{Service: "s", Getenv: func(name string) string { return c.env[name] }})
		if err != nil || (p != nil) != c.want {
			t.Errorf("%v: %v, %v", c.env, p, err)
		}
		if err := shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A collector gets the spans, at the latest when the process ends.
func TestACollectorGetsTheSpans(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- r.URL.Path + string(body)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	p, shutdown, err := Spans(t.Context(), Config{Service: "ackmark-sidecar"})
	if err != nil {
		t.Fatal(err)
	}
	_, span := p.Tracer("x").Start(t.Context(), "send out")
	span.End()
	if err := shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body := <-got; !strings.HasPrefix(body, "/v1/traces") || !strings.Contains(body, "send out") || !strings.Contains(body, "ackmark-sidecar") {
		t.Errorf("the collector got %.200q", body)
	}
}
