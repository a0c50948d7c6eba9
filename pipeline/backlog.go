package pipeline

import (
	"slices"
	"time"

	"github.com/ackmark/ackmark/consumer"
)

// backlog is a queue of chunks: of one lane, or of all lanes of an unordered pipeline. The lock of
// whoever has it guards it.
type backlog struct {
	chunks []*chunk // from head on
	head   int
	queued int           // inputs
	wait   time.Duration // how long an input may wait for its batch to fill
	of     map[*consumer.Assignment]int
}

func newBacklog(wait time.Duration) backlog {
	b := backlog{wait: wait}
	if wait > 0 {
		b.of = map[*consumer.Assignment]int{}
	}
	return b
}

func (b *backlog) empty() bool { return b.head == len(b.chunks) }

func (b *backlog) push(c *chunk) {
	if b.wait > 0 {
		c.at = time.Now()
	}
	if b.head > len(b.chunks)/2 { // what was taken must not make it grow
		b.chunks = slices.Delete(b.chunks, 0, b.head)
		b.head = 0
	}
	b.chunks = append(b.chunks, c)
	b.count(c.assignment, len(c.msgs)-c.next)
}

func (b *backlog) count(a *consumer.Assignment, n int) {
	b.queued += n
	if b.of == nil {
		return
	}
	if b.of[a] += n; b.of[a] == 0 {
		delete(b.of, a)
	}
}

// pop takes the oldest chunk.
func (b *backlog) pop() *chunk {
	c := b.chunks[b.head]
	b.count(c.assignment, c.next-len(c.msgs))
	b.drop()
	return c
}

func (b *backlog) drop() {
	b.chunks[b.head] = nil
	if b.head++; b.head == len(b.chunks) {
		b.chunks, b.head = b.chunks[:0], 0
	}
}

// move moves up to n inputs of the oldest chunk into c.
func (b *backlog) move(c *chunk, n int) {
	first := b.chunks[b.head]
	rest := first.msgs[first.next:]
	n = min(n, len(rest))
	c.msgs = append(c.msgs, rest[:n]...)
	first.next += n
	b.count(first.assignment, -n)
	if first.next == len(first.msgs) {
		b.drop()
		first.recycle()
	}
}

// due tells whose inputs make the next batch: of the assignment whose input has waited the longest,
// if that was long enough, or of the first one that fills a batch of the size. Nil: none before the
// time.
func (b *backlog) due(now time.Time, size int) (*consumer.Assignment, time.Time) {
	if b.empty() {
		return nil, time.Time{}
	}
	first := b.chunks[b.head]
	until := first.at.Add(b.wait)
	if b.wait <= 0 || !now.Before(until) {
		return first.assignment, until
	}
	for _, c := range b.chunks[b.head:] {
		if b.of[c.assignment] >= size {
			return c.assignment, until
		}
	}
	return nil, until
}

// gather moves up to size inputs of an assignment into c, in fetch order, also from chunks behind
// those of other partitions: a batch is full while there is enough for one.
func (b *backlog) gather(c *chunk, a *consumer.Assignment, size int) {
	c.assignment, c.msgs, c.next = a, c.msgs[:0], 0
	for !b.empty() && b.chunks[b.head].assignment == a && len(c.msgs) < size { // nearly always all there is to do
		b.move(c, size-len(c.msgs))
	}
	rest := b.chunks[b.head:]
	for i, from := range rest {
		if len(c.msgs) == size {
			break
		}
		if from.assignment != a {
			continue
		}
		n := min(size-len(c.msgs), len(from.msgs)-from.next)
		c.msgs = append(c.msgs, from.msgs[from.next:from.next+n]...)
		from.next += n
		b.count(a, -n)
		if from.next == len(from.msgs) {
			from.recycle()
			rest[i] = nil
		}
	}
	b.compact()
}

// compact closes the gaps.
func (b *backlog) compact() {
	kept := slices.DeleteFunc(b.chunks[b.head:], func(c *chunk) bool { return c == nil })
	if b.chunks = b.chunks[:b.head+len(kept)]; b.empty() {
		b.chunks, b.head = b.chunks[:0], 0
	}
}

// forget drops what belongs to assignments that are over, and tells how many inputs that was. The
// consumer has given back their share of its budget, and reads on: behind a handler that hangs, one
// assignment after the other would pile up here.
func (b *backlog) forget(over []*consumer.Assignment) int {
	dropped := 0
	rest := b.chunks[b.head:]
	for i, c := range rest {
		if slices.Contains(over, c.assignment) {
			n := len(c.msgs) - c.next
			dropped += n
			b.count(c.assignment, -n)
			c.recycle()
			rest[i] = nil
		}
	}
	b.compact()
	return dropped
}
