package txn

import (
	"context"
	"sync"
	"time"
)

// life is how long a lane goes on, and all that it has begun with it.
type life struct {
	ctx     context.Context
	stop    context.CancelCauseFunc
	running sync.WaitGroup
}

func newLife() *life {
	l := &life{}
	l.ctx, l.stop = context.WithCancelCause(context.Background())
	return l
}

// sleep waits; false: the context or the lane has ended.
func (l *life) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-l.ctx.Done():
		return false
	}
}
