package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

// brokersCPU is the processor time of the brokers so far; nil where their processes are not known.
func (b *bench) brokersCPU(ctx context.Context) (*time.Duration, error) {
	if b.broker != nil {
		u, err := b.broker.usage(ctx)
		return &u.CPU, err
	}
	if len(b.opts.BrokerPIDs) == 0 {
		return nil, nil
	}
	var sum time.Duration
	for _, pid := range b.opts.BrokerPIDs {
		cpu, err := childproc.CPUTime(pid)
		if err != nil {
			return nil, fmt.Errorf("bench: the CPU time of broker process %d: %w", pid, err)
		}
		sum += cpu
	}
	return &sum, nil
}

func (o Options) validateBrokerPIDs() error {
	const option = "--broker-pids"
	if len(o.BrokerPIDs) > 0 && len(o.Brokers) == 0 {
		return &OptionError{option, "is of the brokers that --brokers names: add it, or leave it out; the embedded one's is known"}
	}
	for _, pid := range o.BrokerPIDs {
		if _, err := childproc.CPUTime(pid); err != nil {
			return &OptionError{option, fmt.Sprintf("has %d, whose CPU time cannot be read: name processes that run on this machine, which needs Linux: %v", pid, err)}
		}
	}
	return nil
}
