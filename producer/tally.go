package producer

// tally counts what was accepted and not reported, so that Flush can wait for exactly what was
// accepted before it, however much is accepted meanwhile. One counter for everything was not
// enough: under steady load it never reaches zero.
//
// It has no lock of its own: its owner's lock guards it.
type tally struct {
	current *batch   // takes new entries
	sealed  []*batch // closed by a Flush, not empty yet
	pending int      // in all of them
}

// batch is what was accepted between two calls of Flush.
type batch struct {
	pending int
	sealed  bool
	done    chan struct{} // closed when it is sealed and empty
}

// add counts n units and returns the batch to give to remove.
func (t *tally) add(n int) *batch {
	if t.current == nil {
		t.current = &batch{done: make(chan struct{})}
	}
	t.current.pending += n
	t.pending += n
	return t.current
}

// remove counts n units of the batch as reported.
func (t *tally) remove(b *batch, n int) {
	b.pending -= n
	t.pending -= n
	if b.sealed && b.pending == 0 {
		close(b.done)
	}
}

// seal returns the batches that hold everything accepted so far and not reported.
func (t *tally) seal() []*batch {
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
	return append([]*batch(nil), t.sealed...)
}
