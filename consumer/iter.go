package consumer

import (
	"context"
	"iter"
	"sync"
)

// Messages runs the consumer and yields its inputs one by one, started (see [Message.Start]). Call
// Done on each, now or later, from any goroutine.
//
// An error is yielded once for each partition that halts (a *HaltError: the others go on, if the
// loop does), and at the end if the consumer stopped for any other reason than ctx or Close.
// Leaving the loop stops the consumer; the input that the loop was left with is not waited for.
func (c *Consumer) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		c.iterate(ctx, func(b *Batch) (bool, []*Message) {
			for i := range b.Messages {
				m := &b.Messages[i]
				if !m.Start() {
					continue
				}
				if !yield(m, nil) {
					return false, []*Message{m}
				}
			}
			return true, nil
		}, func(err error) bool { return yield(nil, err) })
	}
}

// Batches runs the consumer and yields its inputs in batches, started. Otherwise it is like
// [Consumer.Messages]. A batch is a run of inputs of one partition in fetch order; those that were
// not started (the partition left in between) are not in it.
func (c *Consumer) Batches(ctx context.Context) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		c.iterate(ctx, func(b *Batch) (bool, []*Message) {
			n := 0
			for n < len(b.Messages) && b.Messages[n].Start() {
				n++
			}
			if n == 0 {
				return true, nil
			}
			out := &Batch{Assignment: b.Assignment, Messages: b.Messages[:n:n]}
			if yield(out, nil) {
				return true, nil
			}
			var left []*Message
			for i := range out.Messages {
				left = append(left, &out.Messages[i])
			}
			return false, left
		}, func(err error) bool { return yield(nil, err) })
	}
}

// iterate runs the consumer beside the caller's loop. The poll loop only queues: what waits there
// is bounded by the memory budget.
func (c *Consumer) iterate(ctx context.Context, each func(*Batch) (more bool, left []*Message), fail func(error) bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	q := &queue{wake: make(chan struct{}, 1)}
	result := make(chan error, 1)
	halted := func(e *HaltError) { q.push(item{err: e}) }
	go func() { result <- c.runOnce(ctx, func(b *Batch) { q.push(item{batch: b}) }, halted) }()
	ended := false
	defer func() {
		cancel(errClosing)
		if !ended {
			if err := <-result; err != nil {
				c.log.Warn("the consumer stopped", "err", err)
			}
		}
	}()
	for {
		it, ok := q.pop()
		switch {
		case ok && it.err != nil:
			if !fail(it.err) {
				return
			}
		case ok:
			more, left := each(it.batch)
			if !more {
				for _, m := range left {
					m.run.part.unstart(m)
				}
				return
			}
		default:
			select {
			case <-q.wake:
			case err := <-result:
				ended = true
				for it, ok := q.pop(); ok; it, ok = q.pop() {
					if it.err != nil && !fail(it.err) {
						return
					}
				}
				if err != nil {
					fail(err)
				}
				return
			}
		}
	}
}

// item is a batch or a halt.
type item struct {
	batch *Batch
	err   error
}

// queue carries items from the poll loop to the caller's loop, in order.
type queue struct {
	mu    sync.Mutex
	items []item
	head  int
	wake  chan struct{}
}

func (q *queue) push(it item) {
	q.mu.Lock()
	q.items = append(q.items, it)
	q.mu.Unlock()
	wake(q.wake)
}

func (q *queue) pop() (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		return item{}, false
	}
	it := q.items[q.head]
	q.items[q.head] = item{}
	if q.head++; q.head > 64 && q.head > len(q.items)/2 { // a queue that never runs empty may not grow with all that ever passed it
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return it, true
}
