// Package exporter is the end of a process's metrics: who collects them. The default is Prometheus,
// by a handler; OTLP is sent as well when an OTEL_ variable names an endpoint. Only commands and
// the admin port import it: it needs OpenTelemetry's SDK.
package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	prometheusexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/ackmark/ackmark/internal/kept"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// Config of an exporter.
type Config struct {
	// Service and Version are the process's, as OpenTelemetry's service.name and service.version;
	// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are stronger.
	Service, Version string
	// DropPartitions joins the values of partitions.
	DropPartitions bool
	// Getenv default os.Getenv.
	Getenv func(string) string
}

// Exporter has the metrics of a process.
type Exporter struct {
	provider *sdk.MeterProvider
	whole    bool
	handler  http.Handler
}

// seriesOfAMetric is a second fence behind the bounds of package telemetry: what is in a label
// without a bound would end here. A partition has up to three, of its repeats by cause.
const seriesOfAMetric = 4 * telemetry.MaxPartitions

// New returns an exporter. It connects to nothing yet; what OTLP cannot deliver is told to
// OpenTelemetry's error handler.
func New(ctx context.Context, cfg Config) (*Exporter, error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	about, err := Resource(ctx, cfg)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	reader, err := prometheusexporter.New(prometheusexporter.WithRegisterer(registry), prometheusexporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("prometheus exporter: %w", err)
	}
	options := []sdk.Option{sdk.WithReader(reader), sdk.WithResource(about), sdk.WithCardinalityLimit(seriesOfAMetric)}
	if pushes(cfg.Getenv) {
		push, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, fmt.Errorf("OTLP exporter of metrics: %w; correct the OTEL_ variables, or unset them", err)
		}
		options = append(options, sdk.WithReader(push))
	}
	e := &Exporter{provider: sdk.NewMeterProvider(options...), whole: cfg.DropPartitions}
	if err := runtime.Start(runtime.WithMeterProvider(e.provider)); err != nil {
		return nil, errors.Join(fmt.Errorf("metrics of the Go runtime: %w", err), e.provider.Shutdown(ctx))
	}
	observe(e.provider)
	e.handler = newAnswers(promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true, EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError}))
	return e, nil
}

// observe tells of the process itself.
func observe(provider metric.MeterProvider) {
	begun := time.Now()
	telemetry.New(provider, "process").Observe(func(r *telemetry.Reading) {
		r.Time(telemetry.Uptime, time.Since(begun), attribute.Set{})
		r.Count(telemetry.Stale, int64(kept.Stale()), attribute.Set{})
	}, telemetry.Uptime, telemetry.Stale)
}

// Pushes tells whether a collector is sent the metrics.
func Pushes(cfg Config) bool {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	return pushes(cfg.Getenv)
}

// pushes tells whether metrics go somewhere beside the handler. The handler is Prometheus already:
// the one that OpenTelemetry would open for itself listens on a port of its own.
func pushes(getenv func(string) string) bool {
	if named := getenv("OTEL_METRICS_EXPORTER"); named != "" {
		return named != "none" && named != "prometheus"
	}
	return cmp.Or(getenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) != ""
}

// places are the variables that a pod's manifest fills from the downward API.
var places = map[string]attribute.Key{"POD_NAME": "k8s.pod.name", "POD_NAMESPACE": "k8s.namespace.name", "NODE_NAME": "k8s.node.name"}

// Resource is what the process is: the same for its metrics and its traces.
func Resource(ctx context.Context, cfg Config) (*resource.Resource, error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	attributes := []attribute.KeyValue{attribute.String("service.name", cfg.Service), attribute.String("service.version", cfg.Version)}
	for variable, key := range places {
		if v := cfg.Getenv(variable); v != "" {
			attributes = append(attributes, key.String(v))
		}
	}
	about, err := resource.New(ctx, resource.WithAttributes(attributes...), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w; write key=value,key=value", err)
	}
	return about, nil
}

// MeterProvider is what parts make their instruments on.
func (e *Exporter) MeterProvider() metric.MeterProvider {
	if e.whole {
		return telemetry.WithoutPartitions(e.provider)
	}
	return e.provider
}

// Handler answers a scrape.
func (e *Exporter) Handler() http.Handler { return e.handler }

// Shutdown sends what is left, and ends. The handler answers with nothing from then on.
func (e *Exporter) Shutdown(ctx context.Context) error { return e.provider.Shutdown(ctx) }
