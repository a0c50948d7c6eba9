package bench

import (
	"context"
	"fmt"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

// memoryLimit is GOMEMLIMIT of the process whose handler stalls: the consumer's default budget is a
// quarter of it.
const memoryLimit = 256 << 20

// realBacklog is what is written to a real cluster, unless more or less was asked for: the embedded
// one makes its backlog up.
const realBacklog = 1_000_000

// memory lets a handler stall before a backlog and looks at the peak.
func (b *bench) memory(ctx context.Context) (*Memory, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	b.progress.say("memory: the handler stalls, %s inputs wait", figures.Thousands(b.opts.Backlog))
	s := spec{Role: roleMemory, Partitions: b.opts.Partitions, Size: b.opts.Size, Concurrency: b.opts.Concurrency, Profile: b.profile(roleMemory, 0)}
	if len(b.opts.Brokers) == 0 {
		s.Input, s.Output, s.Group = "stall-input", "stall-output", "stall"
		broker, err := b.opts.start(ctx, spec{Role: roleSynthetic, Input: s.Input, Output: s.Output, Partitions: s.Partitions, Size: s.Size})
		if err != nil {
			return nil, err
		}
		defer broker.kill()
		ready, err := broker.await(ctx, eventReady)
		if err != nil {
			return nil, err
		}
		s.Brokers = ready.Brokers
	} else if err := b.fillBacklog(ctx, &s); err != nil {
		return nil, err
	} else {
		defer b.cluster.remove(context.WithoutCancel(ctx), s.Group, s.Input, s.Output)
	}
	app, err := b.opts.start(ctx, s, fmt.Sprintf("GOMEMLIMIT=%d", memoryLimit))
	if err != nil {
		return nil, err
	}
	defer app.kill()
	done, err := app.await(ctx, eventDone)
	if err != nil {
		return nil, err
	}
	m := done.Memory
	m.Limit, m.Backlog = memoryLimit, int64(b.opts.Backlog)
	if m.After == 0 {
		b.result.Wrong = append(b.result.Wrong, "memory: nothing was done after the stall")
	}
	return m, app.stop()
}

func (b *bench) fillBacklog(ctx context.Context, s *spec) (err error) {
	s.Brokers, s.Group = b.brokers, b.cluster.name("group")
	if s.Input, err = b.cluster.createTopic(ctx, "input", s.Partitions); err != nil {
		return err
	}
	if s.Output, err = b.cluster.createTopic(ctx, "output", s.Partitions); err != nil {
		return err
	}
	b.progress.say("memory: writing a backlog of %s inputs", figures.Thousands(b.opts.Backlog))
	if err := b.cluster.fill(ctx, s.Input, b.opts.Backlog, s.Size); err != nil {
		return fmt.Errorf("bench: writing the backlog: %w", err)
	}
	return nil
}
