package txn

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// promises are what becomes of a window's records. The client's goroutines tell them, the lane's
// waits for them.
type promises struct {
	made func(*kgo.Record, error) // promise, made once

	left     atomic.Int64  // records without a fate, and one while the window takes units
	acked    atomic.Int64  // records
	written  chan struct{} // closed when left is 0
	finished bool          // no unit is taken in any more; the lane's

	mu       sync.Mutex
	failures []failure
	fail     chan struct{} // closed at the first failure
}

// failure is of a record.
type failure struct {
	rec *kgo.Record
	err error
}

// begin readies them for the first record.
func (p *promises) begin() {
	p.written, p.fail = make(chan struct{}), make(chan struct{})
	p.made = p.promise
	p.left.Store(1)
}

// promise is the promise of all records. It decides nothing.
func (p *promises) promise(r *kgo.Record, err error) {
	if err == nil {
		p.acked.Add(1)
	} else {
		p.mu.Lock()
		if p.failures = append(p.failures, failure{r, err}); len(p.failures) == 1 {
			close(p.fail)
		}
		p.mu.Unlock()
	}
	p.count()
}

func (p *promises) count() {
	if p.left.Add(-1) == 0 {
		close(p.written)
	}
}

// finish ends the taking of units, once.
func (p *promises) finish() {
	if !p.finished {
		p.finished = true
		p.count()
	}
}

// await waits until every record has its fate: before, none of them may be produced again.
func (p *promises) await(ctx context.Context) error {
	p.finish()
	select {
	case <-p.written:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *promises) failed() bool {
	select {
	case <-p.fail:
		return true
	default:
		return false
	}
}
