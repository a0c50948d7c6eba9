package kafkatest

import (
	"context"
	"slices"
	"strings"
)

// Running are brokers that belong to no test: those of a program that measures, as bench/peers.
// They end with Stop, or with this process, however that ends.
type Running struct{ cluster *Cluster }

// Launch starts brokers as [Start] does. The error says what this machine lacks, if that is it.
func Launch(ctx context.Context, cfg Config) (*Running, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c, err := launch(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Running{&Cluster{cluster: c}}, nil
}

// Addrs are the bootstrap addresses.
func (r *Running) Addrs() []string { return slices.Clone(r.cluster.addrs) }

// PIDs are the brokers' processes.
func (r *Running) PIDs() []int { return r.cluster.PIDs() }

// Version is that of the brokers.
func (r *Running) Version() string { return r.cluster.Version() }

// Stop ends the brokers and removes what they wrote. With failed their logs are kept, and it says
// where.
func (r *Running) Stop(failed bool) (logs string) {
	r.cluster.failed = failed
	return strings.TrimSpace(r.cluster.stop())
}
