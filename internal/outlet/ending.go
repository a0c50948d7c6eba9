package outlet

import (
	"context"
	"maps"
	"slices"
	"time"
)

// SendNow has the usual client send what lingers, and waits for nothing.
func (o *Outlet) SendNow() {
	_ = o.usual.Flush(ended) // it ends the linger, and then sees that the context is over
}

var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Flush waits until nothing is on its way, or for the context's end. Records that are handed over
// meanwhile are waited for, too.
func (o *Outlet) Flush(ctx context.Context) error {
	for {
		if err := o.usual.Flush(ctx); err != nil {
			return err
		}
		if o.repairs.Load() == 0 && o.alone.Load() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(flushEvery):
		}
	}
}

// Buffered is how many records are on their way.
func (o *Outlet) Buffered() int64 {
	n := o.usual.BufferedProduceRecords() + o.alone.Load() + o.waiting.Load()
	for _, p := range o.underRepair() {
		n += p.held()
	}
	return n
}

func (o *Outlet) underRepair() []*part {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*part, 0, len(o.broken))
	for p := range o.broken {
		list = append(list, p)
	}
	return list
}

// Close fails everything that is on its way with kgo.ErrClientClosed, and ends both clients.
// Nothing may be handed over any more.
func (o *Outlet) Close() {
	o.closed.Store(true)
	o.usual.Close()
	o.wg.Wait() // one of these may just make the second client
	if o.made.Load() {
		if other, err := o.other(); err == nil {
			other.Close()
		}
	}
	for _, t := range o.all() {
		t.handWaiting()
	}
	for _, p := range o.underRepair() {
		o.end(p.giveUp())
	}
	o.wg.Wait()
}

func (o *Outlet) all() []*Topic {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Values(o.topics))
}
