package demo

import (
	"context"
	"errors"

	"github.com/ackmark/ackmark/admin"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/adminport"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/telemetry/exporter"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// runPipeline is an Ackmark pipeline with the sidecar beside it: the whole of what a service has to
// write is in here.
func (c *child) runPipeline(ctx context.Context) error {
	opts, err := c.kgoOptions(&c.conns)
	if err != nil {
		return err
	}
	return c.runOver(ctx, pipeline.Config{
		Consumer: consumer.Config{Options: opts, CommitEvery: commitEvery},
		Producer: producer.DialConfig{Target: "unix://" + c.spec.Socket, App: "demo", Logger: c.log}.New(),
	})
}

// runExactlyOnce is the same pipeline exactly-once: its sidecar commits.
func (c *child) runExactlyOnce(ctx context.Context) error {
	opts, err := c.kgoOptions(&c.conns)
	if err != nil {
		return err
	}
	return c.runOver(ctx, pipeline.Config{
		Mode:     pipeline.ExactlyOnce,
		Consumer: consumer.Config{Options: opts},
		Producer: producer.DialConfig{Target: "unix://" + c.spec.Socket, App: "demo", Logger: c.log}.New(),
	})
}

// runOver runs a pipeline with what all have in common.
func (c *child) runOver(ctx context.Context, cfg pipeline.Config) error {
	in := &cfg.Consumer
	in.Brokers, in.Group, in.Topics, in.MaxRecords = c.spec.Brokers, c.spec.Group, []string{c.spec.Input}, c.spec.MaxRecords
	in.SessionTimeout, in.HeartbeatInterval = c.spec.SessionTimeout, c.spec.heartbeat()
	cfg.Concurrency, cfg.Logger, cfg.Handler = c.spec.Workers, c.log, c.handler()
	p, err := pipeline.New(cfg) //nolint:contextcheck // New starts nothing: Run gets the context
	if err != nil {
		return err
	}
	inFlight := func() (records, bytes int64) {
		for _, part := range p.State().Consumer.Partitions {
			records += int64(part.Pending)
			bytes += part.PendingBytes
		}
		return records, bytes
	}
	c.inFlight.Store(&inFlight)
	return p.Run(ctx)
}

func (c *child) handler() pipeline.Handler {
	return pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
		if err := work(ctx, c.spec.Work); err != nil {
			return nil, err
		}
		value := in.Value
		if c.spec.Large {
			if err := c.hoard.handle(ctx, value); err != nil {
				return nil, err
			}
			value = head(value)
		}
		return []producer.Record{{Topic: c.spec.Output, Key: in.Key, Value: transform(value), Headers: in.Headers}}, nil
	})
}

// runSidecar is what `ackmark sidecar` runs, with a count of its broker connections.
func (c *child) runSidecar(ctx context.Context) error {
	opts, err := c.kgoOptions(&c.prodConn)
	if err != nil {
		return err
	}
	cfg := sidecar.Config{Brokers: c.spec.Brokers, Options: opts, Listen: "unix://" + c.spec.Socket, Logger: c.log, TransactionalID: c.spec.TransactionalID}
	if c.spec.Page == "" {
		s, err := sidecar.New(cfg)
		if err != nil {
			return err
		}
		return s.Run(ctx)
	}
	metrics, err := exporter.New(ctx, exporter.Config{Service: "ackmark-demo", Getenv: func(string) string { return "" }}) // to be scraped, and sent to nobody
	if err != nil {
		return err
	}
	defer func() { _ = metrics.Shutdown(context.WithoutCancel(ctx)) }()
	cfg.MeterProvider = metrics.MeterProvider()
	s, err := sidecar.New(cfg)
	if err != nil {
		return err
	}
	port, err := adminport.Open(c.spec.Page, admin.Config{Source: s, Metrics: metrics.Handler()}, c.log)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer port.Close()
	return s.Run(ctx)
}
