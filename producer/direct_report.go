package producer

import (
	"math/bits"

	"github.com/ackmark/ackmark/producer/internal/unit"
)

// push tells reportLoop that the call has something to report. It must come after the bit or
// failure was set: the other way round, reportLoop could clear dirty and find nothing between the
// two, and the unit would never be reported (S12).
func (c *call) push() {
	if c.dirty.Load() || !c.dirty.CompareAndSwap(false, true) {
		return
	}
	d := c.d
	d.dirtyMu.Lock()
	first := len(d.dirty) == 0
	d.dirty = append(d.dirty, c)
	d.dirtyMu.Unlock()
	if first {
		d.notify()
	}
}

func (d *direct) notify() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// reportLoop reports until the producer is closed and everything is reported.
func (d *direct) reportLoop() {
	var list []*call
	for range d.wake {
		for {
			d.dirtyMu.Lock()
			list, d.dirty = d.dirty, list[:0]
			d.dirtyMu.Unlock()
			if len(list) == 0 {
				break
			}
			for i, c := range list {
				c.report()
				list[i] = nil
			}
		}
		if d.finished() {
			return
		}
	}
}

func (d *direct) finished() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed && d.active == 0 && d.tally.Pending() == 0
}

// report tells the Reporter what came since the last time, in as few ranges as possible. The books
// are closed after the reports: Flush promises that they were made.
func (c *call) report() {
	c.dirty.Store(false)
	c.d.dirtyMu.Lock()
	fails := c.fails
	c.fails = nil
	c.d.dirtyMu.Unlock()

	var t settled
	c.reportAcked(&t)
	for _, f := range fails {
		c.failed(f, &t)
	}
	if t.units == 0 {
		return
	}
	if c.left -= t.units; c.left == 0 {
		c.slots.put()
		statePool.Put(c.states)
	}
	c.d.settle(c.batch, t)
}

// settled is what one round of reports took off the books.
type settled struct {
	unit.Cost
	units   int
	dropped int // of them failed by Close
}

func (c *call) reportAcked(t *settled) {
	first, n := 0, 0
	for w := range c.done {
		if c.done[w].Load() == 0 {
			continue
		}
		word := c.done[w].Swap(0)
		for base := w * 64; word != 0; {
			skip := bits.TrailingZeros64(word)
			word >>= skip
			base += skip
			run := bits.TrailingZeros64(^word)
			if n > 0 && first+n == base {
				n += run
			} else {
				c.acked(first, n, t)
				first, n = base, run
			}
			word >>= run // a shift by 64 gives 0
			base += run
		}
	}
	c.acked(first, n, t)
}

func (c *call) acked(first, n int, t *settled) {
	if n == 0 {
		return
	}
	for _, st := range (*c.states)[first : first+n] {
		t.Bytes += st.bytes
		t.Records += int(st.records)
	}
	t.units += n
	c.r.Acked(first, n)
}

func (c *call) failed(f unitFailure, t *settled) {
	st := (*c.states)[f.unit]
	t.Bytes += st.bytes
	t.Records += int(st.records)
	t.units++
	if f.err.Code == CodeClosed {
		t.dropped++
	}
	c.r.Failed(f.unit, f.err)
}
