package demo

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
)

// Orders that the parent gives a running child, each a line.
const (
	orderRelease = "release" // handlers that stall go on
	orderLeak    = "leak"
	orderMend    = "mend" // no more leaks
)

// outputBytes is how much of a large input comes out: outputs must be cheap to read back.
const outputBytes = 64

// head is what of a value comes out.
func head(value []byte) []byte { return value[:min(len(value), outputBytes)] }

// hoarder is a handler's bad behaviour towards its memory, on order.
type hoarder struct {
	released chan struct{}
	once     sync.Once
	leaks    atomic.Bool

	mu   sync.Mutex
	kept [][]byte
}

func newHoarder(stall, leak bool) *hoarder {
	h := &hoarder{released: make(chan struct{})}
	if !stall {
		h.obey(orderRelease)
	}
	h.leaks.Store(leak)
	return h
}

func (h *hoarder) obey(order string) {
	switch order {
	case orderRelease:
		h.once.Do(func() { close(h.released) })
	case orderLeak:
		h.leaks.Store(true)
	case orderMend:
		h.leaks.Store(false)
	}
}

// handle stalls until released, and keeps what it should let go.
func (h *hoarder) handle(ctx context.Context, value []byte) error {
	select {
	case <-h.released:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if h.leaks.Load() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.kept = append(h.kept, bytes.Clone(value))
	}
	return nil
}
