package cli

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/telemetry/exporter"
	"github.com/ackmark/ackmark/sidecar"
)

// measures are the metrics and the spans of a process that runs.
type measures struct {
	ctx      context.Context
	exporter *exporter.Exporter
	endSpans func(context.Context) error // nil: none were begun
}

// providers gives cfg what makes metrics, where somebody can collect them: at the admin port, or by
// OTLP; and what makes spans, where OTLP has somewhere to send them.
func (m *measures) providers(e *settings.Effective, cfg *sidecar.Config) error {
	about := exporter.Config{Service: "ackmark-sidecar", Version: version()}
	log := cfg.Logger
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { // by default it writes to stderr, past level, format and the counting of storms
		log.Warn("metrics or spans are not all told", "err", err)
	}))
	spans, end, err := exporter.Spans(m.ctx, about)
	if err != nil {
		return err
	}
	m.endSpans = end
	if spans != nil {
		cfg.TracerProvider = spans
	}
	if e.Admin.Address == "" && !exporter.Pushes(about) {
		return nil
	}
	if m.exporter, err = exporter.New(m.ctx, about); err != nil {
		return err
	}
	cfg.MeterProvider = m.exporter.MeterProvider()
	return nil
}

// none are the providers of a process that only looks at its settings.
func none(*settings.Effective, *sidecar.Config) error { return nil }

// handler answers a scrape; nil where nothing is measured.
func (m *measures) handler() http.Handler {
	if m.exporter == nil {
		return nil
	}
	return m.exporter.Handler()
}

// lastPush is how long the last values and spans may take to a collector.
const lastPush = 3 * time.Second

// end sends what is left.
func (m *measures) end() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), lastPush)
	defer cancel()
	var metrics, spans error
	var both sync.WaitGroup // the one's collector may be gone while the other's is there
	if m.exporter != nil {
		both.Go(func() { metrics = m.exporter.Shutdown(ctx) })
	}
	if m.endSpans != nil {
		both.Go(func() { spans = m.endSpans(ctx) })
	}
	both.Wait()
	return errors.Join(metrics, spans)
}
