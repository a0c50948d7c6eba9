// Package lifecycle is the life of what runs once: not begun, running, ended, and closed by
// somebody meanwhile or before. Consumer, pipeline and sidecar have one each.
package lifecycle

import (
	"context"
	"errors"
	"sync"
)

// What Begin can find.
var (
	ErrBegun  = errors.New("it was begun before")
	ErrClosed = errors.New("it was closed before it began")
)

// Life is the life of one thing. The zero value has not begun. It is safe for concurrent use.
type Life struct {
	mu       sync.Mutex
	phase    Phase
	closing  bool
	ctx      context.Context //nolint:containedctx // of the run, for those that are called by others meanwhile
	cancel   context.CancelCauseFunc
	finished chan struct{}
	result   error
	beside   sync.WaitGroup
}

// Phase is where a life is.
type Phase uint8

// Phases, in their order.
const (
	New Phase = iota
	Running
	Ended
)

// Begin begins it, with a context that ends with ctx, by Stop and by Close. End must follow.
func (l *Life) Begin(ctx context.Context) (context.Context, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.phase != New:
		return nil, ErrBegun
	case l.closing:
		return nil, ErrClosed
	}
	l.phase, l.finished = Running, make(chan struct{})
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	return l.ctx, nil
}

// End ends it, with what Close returns.
func (l *Life) End(result error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.phase, l.result = Ended, result
	l.cancel(nil)
	close(l.finished)
}

// Stop ends the context of a life that runs. The first cause counts.
func (l *Life) Stop(cause error) {
	if cancel := l.canceller(); cancel != nil {
		cancel(cause)
	}
}

func (l *Life) canceller() context.CancelCauseFunc {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cancel
}

// Close stops it and waits for its end, whose result it returns. Before it began nothing can begin
// any more: first is true for the call that made it so.
func (l *Life) Close(cause error) (first bool, result error) {
	l.mu.Lock()
	first, l.closing = l.phase == New && !l.closing, true
	cancel, finished := l.cancel, l.finished
	l.mu.Unlock()
	if cancel == nil {
		return first, nil
	}
	cancel(cause)
	<-finished
	return false, l.result
}

// Leave says that it is about to end, by itself: Closing is true from now on.
func (l *Life) Leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
}

// Closing tells that Close or Leave was called.
func (l *Life) Closing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

// Stopping tells that it is about to end, for whatever reason.
func (l *Life) Stopping() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing || l.ctx != nil && l.ctx.Err() != nil
}

// Phase is where it is.
func (l *Life) Phase() Phase {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.phase
}

// Context is what Begin returned, nil before.
func (l *Life) Context() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctx
}

// Go runs something beside, that Wait waits for.
func (l *Life) Go(fn func()) { l.beside.Go(fn) }

// Wait waits for all that Go began.
func (l *Life) Wait() { l.beside.Wait() }
