package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/ackmark/ackmark/admin"
	"github.com/ackmark/ackmark/pipeline"
)

// adminPort is where one looks at the process: its page, its probes, its metrics.
type adminPort struct {
	address string // empty: there is none, and nothing is measured
	hosts   []string
	meters  metric.MeterProvider
	metrics http.Handler
}

func newAdminPort(address string, hosts []string) (*adminPort, error) {
	if address == "" {
		return new(adminPort), nil
	}
	registry := prometheus.NewRegistry()
	reader, err := otelprometheus.New(
		otelprometheus.WithRegisterer(registry), otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
	)
	if err != nil {
		return nil, err
	}
	return &adminPort{
		address: address, hosts: hosts, meters: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
		metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}, nil
}

// run runs the pipeline and serves the port beside it: a drain is looked at, too.
func (a *adminPort) run(ctx context.Context, p *pipeline.Pipeline) error {
	if a.address == "" {
		return p.Run(ctx)
	}
	lis, err := net.Listen("tcp", a.address)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	slog.Info("admin port", "address", lis.Addr())
	looking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	served := make(chan error, 1)
	go func() {
		served <- admin.Serve(looking, lis, admin.Handler(admin.Config{Source: p, Metrics: a.metrics, Hosts: a.hosts}), nil)
	}()
	err = p.Run(ctx)
	stop()
	return errors.Join(err, <-served)
}
