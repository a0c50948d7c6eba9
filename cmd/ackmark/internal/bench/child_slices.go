package bench

import (
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// A slice is over when its process has been at rest for so many looks: what was read ahead for the
// next slice, and the acknowledgements of this one, are part of its cost.
const (
	restEvery = 20 * time.Millisecond
	restLooks = 3
	restCPU   = 400 * time.Microsecond // 2 % of a processor
	restMost  = 5 * time.Second
)

// gate lets so many inputs pass, and holds their handlers then.
type gate struct {
	handled, allowed atomic.Int64

	mu   sync.Mutex
	more chan struct{} // closed when more may pass
	shut chan struct{} // closed when the last one that may has passed
}

func newGate() *gate { return &gate{more: make(chan struct{}), shut: make(chan struct{})} }

// pass waits until this input may.
func (g *gate) pass(ctx context.Context) error {
	n := g.handled.Add(1)
	for {
		allowed := g.allowed.Load()
		if n < allowed {
			return nil
		}
		g.mu.Lock()
		more := g.more
		allowed = g.allowed.Load()
		if n == allowed {
			close(g.shut)
		}
		g.mu.Unlock()
		if n <= allowed {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// open lets n more pass, and returns what is closed behind the last of them.
func (g *gate) open(n int) (shut <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.more)
	g.more, g.shut = make(chan struct{}), make(chan struct{})
	g.allowed.Add(int64(n))
	return g.shut
}

// runSlices is the pipeline that lives on, and handles so many inputs each time that it is told to.
func (c *child) runSlices(ctx context.Context) error {
	cfg, err := c.pipelineConfig()
	if err != nil {
		return err
	}
	handle, g := c.handler(), newGate()
	cfg.Handler = pipeline.HandlerFunc(func(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
		if err := g.pass(ctx); err != nil {
			return nil, err
		}
		return handle(in), nil
	})
	p, err := pipeline.New(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	last := c.meter.usage()
	for {
		select {
		case <-c.slices:
			if err := c.slice(g, ended, last); err != nil {
				return err
			}
			last = c.meter.usage()
		case err := <-ended:
			return err
		}
	}
}

// slice handles one, and tells what the process used since the end of the one before: on a busy
// machine some of what a slice does comes after it seemed to be at rest.
func (c *child) slice(g *gate, ended chan error, start Usage) error {
	began := time.Now()
	shut := g.open(c.spec.Slice)
	select {
	case <-shut:
	case err := <-ended:
		ended <- err
		return err
	}
	wall := time.Since(began)
	c.awaitRest()
	if c.spec.Planted > 0 {
		used := c.meter.usage().Since(start)
		until := childproc.OwnCPUTime() + time.Duration(float64(used.CPU)*c.spec.Planted)
		for childproc.OwnCPUTime() < until {
			someWork()
		}
	}
	c.tell(event{Kind: eventDone, Wall: wall, Usage: c.meter.usage().Since(start)})
	return nil
}

// someWork is some work, without memory.
func someWork() {
	var sum [sha256.Size]byte
	for range 64 {
		sum = sha256.Sum256(sum[:])
	}
}

// awaitRest returns when the process does next to nothing.
func (c *child) awaitRest() {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	last, looks := childproc.OwnCPUTime(), 0
	for deadline := time.Now().Add(restMost); looks < restLooks && time.Now().Before(deadline); {
		<-tick.C
		now := childproc.OwnCPUTime()
		if looks++; now-last > restCPU {
			looks = 0
		}
		last = now
	}
}
