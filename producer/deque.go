package producer

// deque is a queue on a ring that doubles. The zero value is ready.
type deque[T any] struct {
	ring []T // length zero or a power of two
	head int
	n    int
}

func (d *deque[T]) len() int { return d.n }

// at returns the i-th element from the front.
func (d *deque[T]) at(i int) *T { return &d.ring[(d.head+i)&(len(d.ring)-1)] }

func (d *deque[T]) push(v T) {
	if d.n == len(d.ring) {
		d.grow()
	}
	d.n++
	*d.at(d.n - 1) = v
}

// truncate keeps the first n elements.
func (d *deque[T]) truncate(n int) {
	var zero T
	for ; d.n > n; d.n-- {
		*d.at(d.n - 1) = zero
	}
}

func (d *deque[T]) grow() {
	ring := make([]T, max(16, 2*len(d.ring)))
	for i := range d.n {
		ring[i] = *d.at(i)
	}
	d.ring, d.head = ring, 0
}
