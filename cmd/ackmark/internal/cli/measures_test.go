package cli

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/sidecar"
)

// A sidecar makes spans where OTLP has somewhere to send them, metrics or none, and the last of
// them are sent when it ends.
func TestSpansOfASidecarReachTheCollector(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- string(body)
	}))
	defer collector.Close()
	for _, c := range []struct {
		endpoint, admin string
	}{{}, {admin: "127.0.0.1:0"}, {endpoint: collector.URL}, {endpoint: collector.URL, admin: "127.0.0.1:0"}} {
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.endpoint)
		e, err := settings.Load(settings.Sources{Flags: map[string]string{"brokers": "a:1"}})
		if err != nil {
			t.Fatal(err)
		}
		e.Admin.Address = c.admin
		m := measures{ctx: t.Context()}
		cfg := sidecar.Config{Logger: slog.New(slog.DiscardHandler)}
		if err := m.providers(e, &cfg); err != nil {
			t.Fatal(err)
		}
		if (cfg.TracerProvider != nil) != (c.endpoint != "") || (cfg.MeterProvider != nil) != (c.admin != "") {
			t.Errorf("%+v: spans by %v, metrics by %v", c, cfg.TracerProvider, cfg.MeterProvider)
		}
		if cfg.TracerProvider != nil {
			_, span := cfg.TracerProvider.Tracer("x").Start(t.Context(), "send orders")
			span.End()
		}
		if err := m.end(); err != nil {
			t.Error(err)
		}
		if cfg.TracerProvider == nil {
			continue
		}
		if body := <-got; !strings.Contains(body, "send orders") || !strings.Contains(body, "ackmark-sidecar") {
			t.Errorf("%+v: the collector got %.200q", c, body)
		}
	}
}

// What a collector does not take is told in the process's log, and not on stderr past it.
func TestErrorsOfOpenTelemetryAreLogged(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Cleanup(func() { otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) }) // it is the whole process's
	var text strings.Builder
	m := measures{ctx: t.Context()}
	if err := m.providers(new(settings.Effective), &sidecar.Config{Logger: slog.New(slog.NewJSONHandler(&text, nil))}); err != nil {
		t.Fatal(err)
	}
	otel.Handle(errors.New("collector is away"))
	if got := text.String(); !strings.Contains(got, `"level":"WARN"`) || !strings.Contains(got, `"err":"collector is away"`) {
		t.Errorf("the log has %q", got)
	}
}
