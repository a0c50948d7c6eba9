package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

// partitions are told apart: OpenTelemetry's SDK joins what is beyond 2,000 if it is not told.
const partitions = 10_000

// newMetrics makes what a pipeline and its producer tell, and the handler at which Prometheus reads
// it. Their names are to be those of docs/metrics.md, which the dashboard and the alerts ask for:
// what this exporter chooses by itself depends on its version.
func newMetrics() (metric.MeterProvider, http.Handler, error) {
	registry := prometheus.NewRegistry()
	reader, err := otelprometheus.New(
		otelprometheus.WithRegisterer(registry),
		otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
	)
	if err != nil {
		return nil, nil, err
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithCardinalityLimit(4*partitions))
	return provider, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), nil
}
