package pipeline

import (
	"hash/maphash"
	"sync"

	"github.com/ackmark/ackmark/consumer"
)

// chunk is what one batch has for one lane: inputs of one stay of one partition, in fetch order. A batch costs each lane one queue
// operation, whatever the number of its inputs.
type chunk struct {
	assignment *consumer.Assignment
	msgs       []*consumer.Message
	next       int // the first one not taken yet
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func newChunk(a *consumer.Assignment) *chunk {
	c := chunks.Get().(*chunk)
	c.assignment = a
	return c
}

func (c *chunk) recycle() {
	clear(c.msgs) // a pooled chunk must not keep a fetched batch alive
	c.assignment, c.msgs, c.next = nil, c.msgs[:0], 0
	chunks.Put(c)
}

// dispatcher splits batches among the lanes. It belongs to the consumer's poll goroutine.
type dispatcher struct {
	order   Order
	lanes   []*lane
	shared  *sharedQueue
	seed    maphash.Seed
	spread  uint64   // the next lane for an input without a key
	filling []*chunk // per lane: its chunk of the batch being split
	touched []int    // the lanes that have one
}

func newDispatcher(order Order, lanes []*lane, shared *sharedQueue) *dispatcher {
	return &dispatcher{order: order, lanes: lanes, shared: shared, seed: maphash.MakeSeed(), filling: make([]*chunk, len(lanes))}
}

// deliver is what the consumer calls with each batch. It never blocks: the consumer's budget bounds what waits in the lanes.
func (d *dispatcher) deliver(b *consumer.Batch) {
	switch {
	case len(b.Messages) == 0:
	case d.order == Unordered:
		d.shared.push(wholeChunk(b))
	case d.order == PerPartition || len(d.lanes) == 1:
		// Epochs count up, so the partitions of one assignment spread evenly; within its stay a partition keeps its lane.
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
	n := uint64(len(d.lanes))
	for i := range b.Messages {
		m := &b.Messages[i]
		var l uint64
		if m.Key == nil {
			l = d.spread % n
			d.spread++
		} else {
			l = maphash.Bytes(d.seed, m.Key) % n
		}
		c := d.filling[l]
		if c == nil {
			c = newChunk(b.Assignment)
			d.filling[l] = c
			d.touched = append(d.touched, int(l))
		}
		c.msgs = append(c.msgs, m)
	}
	for _, l := range d.touched {
		d.lanes[l].push(d.filling[l])
		d.filling[l] = nil
	}
	d.touched = d.touched[:0]
}

// sharedQueue is the one queue of an unordered pipeline: a lane takes what it can work on soon, so that no input waits behind a
// slow handler while another lane is free.
type sharedQueue struct {
	mu     sync.Mutex
	wake   sync.Cond
	chunks []*chunk
	queued int // inputs
	idle   int // lanes that wait
	lanes  int
	closed bool
}

func newSharedQueue(lanes int) *sharedQueue {
	q := &sharedQueue{lanes: lanes}
	q.wake.L = &q.mu
	return q
}

func (q *sharedQueue) push(c *chunk) {
	q.mu.Lock()
	q.chunks = append(q.chunks, c)
	q.queued += len(c.msgs)
	wake := min(q.idle, q.queued)
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

// tryTake moves up to want inputs of one stay into c, fewer when there are not enough for all lanes. waiting: there is nothing now.
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
	if len(q.chunks) == 0 {
		return false
	}
	first := q.chunks[0]
	rest := first.msgs[first.next:]
	n := min(len(rest), want, max(1, q.queued/q.lanes))
	c.assignment, c.msgs, c.next = first.assignment, append(c.msgs[:0], rest[:n]...), 0
	first.next += n
	q.queued -= n
	if first.next == len(first.msgs) {
		q.chunks[0] = nil
		q.chunks = q.chunks[1:]
		first.recycle()
	}
	return true
}
