package pipeline

import (
	"context"
	"slices"

	"github.com/ackmark/ackmark/consumer"
)

// work is what handlers of one lane run under for one assignment of a partition: a context that
// ends with the assignment, and that the watchdog can end alone. It is kept from chunk to chunk: a
// context per input would cost more than the pipeline.
type work struct {
	assignment *consumer.Assignment
	parent     context.Context // of the assignment
	ctx        context.Context
	cancel     context.CancelCauseFunc
}

func newWork(a *consumer.Assignment) *work {
	parent := a.Context()
	ctx, cancel := context.WithCancelCause(parent)
	return &work{a, parent, ctx, cancel}
}

// workCache holds the works of the assignments that a lane met lately. It belongs to the lane's
// goroutine.
type workCache struct {
	last *work
	all  []*work
}

// maxWorks bounds the cache. A lane of a process with more partitions than that makes a context now
// and then.
const maxWorks = 32

func (c *workCache) of(a *consumer.Assignment) *work {
	if c.last != nil && c.last.assignment == a {
		return c.last
	}
	for _, w := range c.all {
		if w.assignment == a {
			c.last = w
			return w
		}
	}
	c.all = slices.DeleteFunc(c.all, func(w *work) bool {
		if w.ctx.Err() != nil {
			w.cancel(nil)
		}
		return w.ctx.Err() != nil
	})
	if len(c.all) == maxWorks {
		c.all[0].cancel(nil)
		c.all = slices.Delete(c.all, 0, 1)
	}
	c.last = newWork(a)
	c.all = append(c.all, c.last)
	return c.last
}

// renew replaces a work whose context the watchdog ended.
func (c *workCache) renew(w *work) *work {
	fresh := newWork(w.assignment)
	for i := range c.all {
		if c.all[i] == w {
			c.all[i] = fresh
		}
	}
	c.last = fresh
	return fresh
}

func (c *workCache) close() {
	for _, w := range c.all {
		w.cancel(nil)
	}
	c.all, c.last = nil, nil
}
