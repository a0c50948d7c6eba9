package producer

import (
	"context"
	"errors"
	"sync"

	"github.com/ackmark/ackmark/internal/route"
)

// follow does what a change of routes asks for beside the switches of topics.
type follow struct {
	r     *router
	wake  chan struct{} // capacity 1
	ctx   context.Context
	end   context.CancelFunc
	once  sync.Once
	tasks sync.WaitGroup
	mode  FallbackMode // its own: as it was set last
}

func newFollow(r *router) *follow {
	f := &follow{r: r, wake: make(chan struct{}, 1)}
	f.ctx, f.end = context.WithCancel(context.Background())
	return f
}

func (f *follow) notify() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// begin starts it with the first use.
func (f *follow) begin() {
	f.once.Do(func() {
		f.tasks.Go(f.run)
		f.notify()
	})
}

func (f *follow) stop() {
	f.once.Do(func() {})
	f.end()
	f.tasks.Wait()
}

func (f *follow) run() {
	f.r.connect()
	for {
		select {
		case <-f.wake:
		case <-f.ctx.Done():
			return
		}
		f.detour()
		f.join()
		f.leave()
	}
}

// connect lets the client connect though nothing may ever go through it: the sidecar has something
// to say.
func (r *router) connect() {
	r.side.mu.Lock()
	defer r.side.mu.Unlock()
	_ = r.side.ready() // why it cannot, every call says that goes through it
}

// detour lets what waits for the sidecar go directly while it is gone: by a route, and where keys
// have left that way. A way back must not wait for what it is the way back from.
func (f *follow) detour() {
	f.r.mu.Lock()
	mode := Off
	if f.r.detours {
		mode = OnUnavailable
	}
	for _, t := range f.r.topics {
		if t.Leaving(route.Sidecar) || t.Share() == 0 && t.Open(route.Sidecar) {
			mode = OnUnavailable
		}
	}
	f.r.mu.Unlock()
	if mode == f.mode {
		return
	}
	if err := f.r.side.SetFallback(mode); err == nil {
		f.mode = mode
	} else if !errors.Is(err, ErrClosed) {
		f.r.log.Error("no detour past the sidecar", "error", err)
	}
}

// join tells the sidecar what this process holds, before something goes through it.
func (f *follow) join() {
	r := f.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.joined || !r.anySidecar() {
		return
	}
	r.assigned.Each(func(m Membership, live []Assignment) {
		_ = r.side.Assign(f.ctx, m, live) // an error is that of every call that goes through it
	})
	r.joined = true
	r.announce()
}

// leave takes everything back from the sidecar when nothing goes through it any more: it must not
// take this process for dead, and leave its group for it, while all goes directly. It waits for the
// answer, so that nothing is told anew before.
func (f *follow) leave() {
	r := f.r
	r.mu.Lock()
	if !r.joined || r.anySidecar() {
		r.mu.Unlock()
		return
	}
	r.joined = false
	var epochs []uint64
	var members []Membership
	r.assigned.Each(func(m Membership, live []Assignment) {
		for i := range live {
			epochs = append(epochs, live[i].Epoch)
		}
		members = append(members, Membership{Group: m.Group, Consumer: m.Consumer})
	})
	r.mu.Unlock()
	_ = r.side.Release(f.ctx, epochs) // nothing is open; an error is the end of this producer
	for _, m := range members {
		_ = r.side.Assign(f.ctx, m, nil)
	}
}

// Assign implements Producer.
func (r *router) Assign(ctx context.Context, m Membership, added []Assignment) error {
	if err := r.start(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := r.own.Assign(ctx, m, added); err != nil {
		return err
	}
	r.assigned.announce(m, added)
	if !r.joined {
		return nil
	}
	return r.side.Assign(ctx, m, added)
}

// Release implements Producer.
func (r *router) Release(ctx context.Context, list []uint64) error {
	r.mu.Lock()
	r.assigned.Release(list)
	split := r.split > 0
	r.mu.Unlock()
	err := errors.Join(r.side.Release(ctx, list), r.own.Release(ctx, list))
	if err == nil && split {
		err = r.side.Flush(ctx) // parts of units are there without their source
	}
	return err
}
