package pipeline

import (
	"sync"
	"time"

	"github.com/ackmark/ackmark/consumer"
)

// chunk is what one batch has for one lane: inputs of one assignment of one partition, in fetch
// order. A batch costs each lane one queue operation, whatever the number of its inputs.
type chunk struct {
	assignment *consumer.Assignment
	msgs       []*consumer.Message
	slots      []uint16  // of the keys of msgs, where lanes share them
	next       int       // the first one not taken yet
	at         time.Time // when it was queued, where something waits for batches to fill
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func newChunk(a *consumer.Assignment) *chunk {
	c := chunks.Get().(*chunk)
	c.assignment = a
	return c
}

func (c *chunk) recycle() {
	clear(c.msgs) // a pooled chunk must not keep a fetched batch alive
	c.assignment, c.msgs, c.slots, c.next, c.at = nil, c.msgs[:0], c.slots[:0], 0, time.Time{}
	chunks.Put(c)
}

// dispatcher splits batches among the lanes. It belongs to the consumer's poll goroutine.
type dispatcher struct {
	order   Order
	lanes   []*lane
	shared  *sharedQueue
	routing *routing // per key, with more than one lane
	spread  uint64   // the next lane for an input without a key
	filling []*chunk // per lane: its chunk of the batch being split
	touched []int    // the lanes that have one
}

func newDispatcher(order Order, lanes []*lane, shared *sharedQueue) *dispatcher {
	d := &dispatcher{order: order, lanes: lanes, shared: shared, filling: make([]*chunk, len(lanes))}
	if order == PerKey && len(lanes) > 1 {
		d.routing = newRouting(lanes)
	}
	return d
}

// deliver is what the consumer calls with each batch. It never blocks: the consumer's budget bounds
// what waits in the lanes.
func (d *dispatcher) deliver(b *consumer.Batch) {
	switch {
	case len(b.Messages) == 0:
	case d.order == Unordered:
		d.shared.push(wholeChunk(b))
	case d.order == PerPartition || len(d.lanes) == 1:
		// Epochs count up, so the partitions of one rebalance spread evenly; within its assignment
		// a partition keeps its lane.
		d.lanes[b.Epoch%uint64(len(d.lanes))].push(wholeChunk(b))
	default:
		d.split(b)
	}
}

func wholeChunk(b *consumer.Batch) *chunk {
	c := newChunk(b.Assignment)
	for i := range b.Messages {
		c.msgs = append(c.msgs, &b.Messages[i])
	}
	return c
}

// split sends each key to its lane. Inputs without a key promise no order: they go round.
func (d *dispatcher) split(b *consumer.Batch) {
	n, r := uint64(len(d.lanes)), d.routing
	r.mu.Lock() // no key moves meanwhile
	defer r.mu.Unlock()
	for i := range b.Messages {
		m := &b.Messages[i]
		slot, l := noKey, d.spread%n
		if m.Key == nil {
			d.spread++
		} else {
			slot, l = r.of(m.Key)
		}
		c := d.filling[l]
		if c == nil {
			c = newChunk(b.Assignment)
			d.filling[l] = c
			d.touched = append(d.touched, int(l))
		}
		if c.msgs = append(c.msgs, m); !r.fixed {
			c.slots = append(c.slots, slot)
		}
	}
	for _, l := range d.touched {
		d.lanes[l].push(d.filling[l])
		d.filling[l] = nil
	}
	d.touched = d.touched[:0]
}

// sharedQueue is the one queue of an unordered pipeline: a lane takes what it can work on soon, so
// that no input waits behind a slow handler while another lane is free.
type sharedQueue struct {
	mu      sync.Mutex
	wake    sync.Cond
	backlog backlog
	idle    int // lanes that wait
	lanes   int
	closed  bool
}

func newSharedQueue(lanes int, wait time.Duration) *sharedQueue {
	q := &sharedQueue{lanes: lanes, backlog: newBacklog(wait)}
	q.wake.L = &q.mu
	return q
}

func (q *sharedQueue) push(c *chunk) {
	q.mu.Lock()
	q.backlog.push(c)
	wake := min(q.idle, q.backlog.queued)
	q.mu.Unlock()
	if wake == q.lanes {
		q.wake.Broadcast()
		return
	}
	for range wake {
		q.wake.Signal()
	}
}

func (q *sharedQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake.Broadcast()
}

func (q *sharedQueue) forget(over []*consumer.Assignment) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.backlog.forget(over)
}

// tryTake moves up to want inputs of one assignment into c, fewer when there are not enough for all
// lanes. False: there is nothing now.
func (q *sharedQueue) tryTake(c *chunk, want int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.take(c, want)
}

// waitTake is tryTake, but waits for something to take. False: the queue was closed, and is empty.
func (q *sharedQueue) waitTake(c *chunk, want int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.take(c, want) {
		if q.closed {
			return false
		}
		q.idle++
		q.wake.Wait()
		q.idle--
	}
	return true
}

func (q *sharedQueue) take(c *chunk, want int) bool {
	if q.backlog.empty() {
		return false
	}
	c.assignment, c.msgs, c.next = q.backlog.chunks[q.backlog.head].assignment, c.msgs[:0], 0
	q.backlog.move(c, min(want, max(1, q.backlog.queued/q.lanes)))
	return true
}

// takeBatch moves a batch into c, when there is one that is full or has waited for long enough;
// wait: it waits for that. False: there is none, or the queue was closed and is empty.
func (q *sharedQueue) takeBatch(c *chunk, size int, wait bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		a, until := q.backlog.due(time.Now(), size)
		if a == nil && q.closed && !q.backlog.empty() {
			a = q.backlog.chunks[q.backlog.head].assignment
		}
		if a != nil {
			q.backlog.gather(c, a, size)
			return true
		}
		if q.closed || !wait {
			return false
		}
		q.idle++
		waitUntil(&q.wake, until)
		q.idle--
	}
}

// waitUntil is cond.Wait that ends at the time, too, unless that is zero.
func waitUntil(cond *sync.Cond, until time.Time) {
	if !until.IsZero() {
		defer time.AfterFunc(time.Until(until), func() {
			cond.L.Lock() // or it could wake nobody: the waiter holds the lock until it waits
			defer cond.L.Unlock()
			cond.Broadcast()
		}).Stop()
	}
	cond.Wait()
}
