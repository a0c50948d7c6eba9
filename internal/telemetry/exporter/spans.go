package exporter

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Spans returns what makes a process's spans, where an OTEL_ variable says who gets them; how many
// is decided by OTEL_TRACES_SAMPLER. Nil: nobody gets any, and none are made. shutdown sends what
// is left.
func Spans(ctx context.Context, cfg Config) (provider trace.TracerProvider, shutdown func(context.Context) error, err error) {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	if !wantsSpans(cfg.Getenv) {
		return nil, func(context.Context) error { return nil }, nil
	}
	about, err := Resource(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	to, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("OTLP exporter of traces: %w; correct the OTEL_ variables, or unset them", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(to), sdktrace.WithResource(about))
	return p, p.Shutdown, nil
}

func wantsSpans(getenv func(string) string) bool {
	if named := getenv("OTEL_TRACES_EXPORTER"); named != "" {
		return named != "none"
	}
	return cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) != ""
}
