package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/sidecar"
)

const serverStart = 15 * time.Second

// runServer is the sidecar of the app beside it, with its defaults.
func (c *child) runServer(ctx context.Context) error {
	if n := runtime.GOMAXPROCS(0); c.spec.OneCPU && n != 1 {
		return fmt.Errorf("GOMAXPROCS is %d, 1 was asked for", n)
	}
	budget.CollectEarly() // as ackmark sidecar
	opts, err := c.clientOptions()
	if err != nil {
		return err
	}
	cfg := sidecar.Config{Brokers: c.spec.Brokers, Options: opts, Listen: c.spec.Socket, Logger: c.log, MeterProvider: c.metrics, StateDir: c.spec.StateDir}
	cfg.TransactionalID = c.spec.TransactionalID
	if cfg.TransactionalID != "" {
		cfg.CommitEvery = c.spec.CommitEvery
	}
	if c.spec.NoLinger {
		cfg.Linger = -1
	}
	s, err := sidecar.New(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if err := c.awaitServer(ctx, s.Check, ended); err != nil {
		return err
	}
	c.tell(event{Kind: eventReady})
	if _, err := c.meter.begin(); err != nil {
		return err
	}
	err = <-ended
	c.meter.finish()
	return err
}

// awaitServer waits until the sidecar is ready to deliver.
func (c *child) awaitServer(ctx context.Context, check func(context.Context) error, ended <-chan error) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(serverStart)
	var last error
	for {
		if last = check(ctx); last == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("ended before it was ready: %w", err)
		case <-deadline:
			return fmt.Errorf("not ready within %s: %w", serverStart, last)
		case <-poll.C:
		}
	}
}
