// Package deque is a queue with room at both ends.
package deque

// Deque is a queue on a ring that doubles. The zero value is ready.
type Deque[T any] struct {
	ring []T // length zero or a power of two
	head int
	n    int
}

// Len is how many elements it has.
func (d *Deque[T]) Len() int { return d.n }

// At returns the i-th element from the front.
func (d *Deque[T]) At(i int) *T { return &d.ring[(d.head+i)&(len(d.ring)-1)] }

// Push adds an element at the back.
func (d *Deque[T]) Push(v T) {
	if d.n == len(d.ring) {
		d.grow()
	}
	d.n++
	*d.At(d.n - 1) = v
}

// Truncate keeps the first n elements.
func (d *Deque[T]) Truncate(n int) {
	var zero T
	for ; d.n > n; d.n-- {
		*d.At(d.n - 1) = zero
	}
}

func (d *Deque[T]) grow() {
	ring := make([]T, max(16, 2*len(d.ring)))
	for i := range d.n {
		ring[i] = *d.At(i)
	}
	d.ring, d.head = ring, 0
}
