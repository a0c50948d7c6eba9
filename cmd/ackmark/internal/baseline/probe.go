package baseline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ackmark/ackmark/producer"
)

// Probe measures emits by making some: a small record at a time, to a topic of its own.
type Probe struct {
	Producer producer.Producer
	Topic    string
	By       string // what it goes by, for people
	Every    time.Duration
}

// Measure implements LatencySource. The first emit is not counted: it connects.
func (p Probe) Measure(ctx context.Context) (Latency, error) {
	emit := func() error {
		_, err := p.Producer.Emit(ctx, producer.Record{Topic: p.Topic, Key: []byte("ackmark baseline"), Value: make([]byte, 100)})
		return err
	}
	if err := emit(); err != nil {
		return Latency{}, fmt.Errorf("the probe: %w", err)
	}
	var took []time.Duration
	tick := time.NewTicker(p.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return latencies(took, "probes "+p.By), nil
		case <-tick.C:
		}
		begin := time.Now()
		err := emit()
		switch {
		case ctx.Err() != nil:
			return latencies(took, "probes "+p.By), nil
		case err != nil:
			return Latency{}, fmt.Errorf("the probe: %w", err)
		}
		took = append(took, time.Since(begin))
	}
}

// latencies are the quantiles of what was measured; of few probes the high ones are none.
func latencies(took []time.Duration, from string) Latency {
	slices.Sort(took)
	at := func(q float64, least int) Figure {
		if len(took) < least {
			return missing("ms", fmt.Sprintf("%d probes, at least %d are needed", len(took), least))
		}
		i := min(int(q*float64(len(took))), len(took)-1)
		return measured(float64(took[i].Microseconds())/1000, "ms", fmt.Sprintf("%d %s", len(took), from))
	}
	return Latency{at(0.5, 10), at(0.95, 20), at(0.99, 100)}
}
