// Package tally counts what was accepted and not reported.
package tally

import "context"

// Tally counts what was accepted and not reported, so that Flush can wait for exactly what was
// accepted before it, however much is accepted meanwhile. One counter for everything was not
// enough: under steady load it never reaches zero.
//
// It has no lock of its own: its owner's lock guards it.
type Tally struct {
	current *Batch   // takes new entries
	sealed  []*Batch // closed by a Flush, not empty yet
	pending int      // in all of them
}

// Batch is what was accepted between two calls of Flush.
type Batch struct {
	pending int
	sealed  bool
	done    chan struct{} // closed when it is sealed and empty
}

// Add counts n units and returns the batch to give to Remove.
func (t *Tally) Add(n int) *Batch {
	if t.current == nil {
		t.current = &Batch{done: make(chan struct{})}
	}
	t.current.pending += n
	t.pending += n
	return t.current
}

// Remove counts n units of the batch as reported.
func (t *Tally) Remove(b *Batch, n int) {
	b.pending -= n
	t.pending -= n
	if b.sealed && b.pending == 0 {
		close(b.done)
	}
}

// Seal returns the batches that hold everything accepted so far and not reported.
func (t *Tally) Seal() []*Batch {
	open := t.sealed[:0]
	for _, b := range t.sealed {
		if b.pending > 0 {
			open = append(open, b)
		}
	}
	clear(t.sealed[len(open):])
	t.sealed = open
	if c := t.current; c != nil && c.pending > 0 {
		c.sealed = true
		t.sealed = append(t.sealed, c)
		t.current = nil
	}
	return append([]*Batch(nil), t.sealed...)
}

// Pending is how many were accepted and not reported.
func (t *Tally) Pending() int { return t.pending }

// Await waits until everything in sealed batches is reported, or returns the context's cause. It is
// called without the owner's lock.
func Await(ctx context.Context, sealed []*Batch) error {
	for _, b := range sealed {
		select {
		case <-b.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
