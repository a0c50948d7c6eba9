package bench

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

const (
	stallQuiet   = 2 * time.Second // the stall has settled when nothing more was fetched for so long
	stallTimeout = time.Minute
	stallAfter   = time.Second // how long the pipeline is watched after it
)

// runMemory stalls every handler, watches what piles up, releases them, and then that the work goes
// on.
func (c *child) runMemory(ctx context.Context) error {
	cfg, err := c.pipelineConfig()
	if err != nil {
		return err
	}
	handle := c.handler()
	cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
		select {
		case <-c.released:
			return handle(in), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
	p, err := pipeline.New(cfg)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }()
	m, err := c.watchStall(p, ended)
	if err != nil {
		return err
	}
	close(c.released)
	before := p.State().Done
	select {
	case err := <-ended:
		return err
	case <-time.After(stallAfter):
	}
	m.After = p.State().Done - before
	m.PeakRSS = childproc.OwnPeakResident()
	stop()
	if err := <-ended; err != nil {
		return err
	}
	c.tell(event{Kind: eventDone, Memory: m})
	return nil
}

// watchStall returns when the consumer has stopped fetching.
func (c *child) watchStall(p *pipeline.Pipeline, ended <-chan error) (*Memory, error) {
	m := &Memory{Budget: budget.DefaultBytes()}
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	began, settled := time.Now(), time.Now()
	for {
		select {
		case err := <-ended:
			return nil, err
		case <-poll.C:
		}
		records, bytes := held(p.State())
		if records != m.HeldRecords {
			m.HeldRecords, m.HeldBytes, settled = records, bytes, time.Now()
		}
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		m.PeakHeap = max(m.PeakHeap, int64(mem.HeapInuse))
		if records > 0 && time.Since(settled) > stallQuiet {
			m.Stall = time.Since(began)
			return m, nil
		}
		if time.Since(began) > stallTimeout {
			return nil, errors.New("the consumer still fetches after a minute of stalled handlers: its budget does not hold")
		}
	}
}

func held(s pipeline.State) (records, bytes int64) {
	for _, p := range s.Consumer.Partitions {
		records += int64(p.Pending)
		bytes += p.PendingBytes
	}
	return records, bytes
}
