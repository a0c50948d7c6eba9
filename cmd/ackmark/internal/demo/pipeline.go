package demo

import (
	"context"

	"github.com/ackmark/ackmark/consumer"
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
	p, err := pipeline.New(pipeline.Config{ //nolint:contextcheck // New starts nothing: Run gets the context
		Consumer: consumer.Config{
			Brokers: c.spec.Brokers, Group: c.spec.Group, Topics: []string{c.spec.Input}, Options: opts,
			SessionTimeout: c.spec.SessionTimeout, HeartbeatInterval: c.spec.heartbeat(), CommitEvery: commitEvery, MaxRecords: c.spec.MaxRecords,
		},
		Producer:    producer.DialConfig{Target: "unix://" + c.spec.Socket, App: "demo", Logger: c.log}.New(),
		Concurrency: c.spec.Workers,
		Handler: pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
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
		}),
		Logger: c.log,
	})
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

// runSidecar is what `ackmark sidecar` runs, with a count of its broker connections.
func (c *child) runSidecar(ctx context.Context) error {
	opts, err := c.kgoOptions(&c.prodConn)
	if err != nil {
		return err
	}
	s, err := sidecar.New(sidecar.Config{Brokers: c.spec.Brokers, Options: opts, Listen: "unix://" + c.spec.Socket, Logger: c.log})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
