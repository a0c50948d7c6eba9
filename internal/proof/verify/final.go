package verify

import (
	"cmp"
	"maps"
	"slices"

	"github.com/ackmark/ackmark/internal/sentinel"
)

// Finish checks what can be told only at the end, when the faults are healed, the group has come to
// rest and everything is fed:
//
//   - every input is done (S1): nothing was lost;
//   - the group committed all of it (S10), and every partition with lag has a holder;
//   - whatever was committed had been handed out to a handler, if anybody feeds HandedOut (S11);
//   - every unit was reported (S12), and every acknowledgement was true;
//   - every transaction has ended (S5).
//
// It returns [Checker.Err].
func (c *Checker) Finish() error {
	c.mu.Lock()
	c.settleClaims()
	for _, p := range c.partitions() {
		l := c.inputs[p]
		c.finishDone(p, l)
		c.finishLag(p, l)
		c.finishHanded(p, l)
	}
	c.finishTransactions()
	for d := range c.deliveries {
		first := 0
		for d.reported.Has(uint64(first)) {
			first++
		}
		c.violate(NeverReported, d.partition(first), "%s: %d of %d units of a call, the first of offset %d (epoch %d)",
			d.process, uint64(len(d.units))-d.reported.Len(), len(d.units), d.units[first].Offset, d.units[first].Epoch)
	}
	c.mu.Unlock()
	return c.Err()
}

func (c *Checker) partitions() []Partition {
	return slices.SortedFunc(maps.Keys(c.inputs), func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

func (c *Checker) finishDone(p Partition, l *inputLog) {
	lost, first := 0, int64(-1)
	for o := l.base; o < l.end(); o++ {
		if id, ok := l.id(o); ok && !c.done(id) && !l.isExcused(o) {
			if lost++; first < 0 {
				first = o
			}
		}
	}
	if lost > 0 {
		c.violate(LostOutput, p, "%d inputs without their outputs, the first at %s; committed is %d", lost, c.describe(l, first), l.committed)
	}
}

func (c *Checker) finishLag(p Partition, l *inputLog) {
	last := l.end() - 1
	for ; last >= l.base; last-- {
		if _, ok := l.id(last); ok && !l.isExcused(last) {
			break
		}
	}
	if last < l.base || l.committed > last {
		return
	}
	c.violate(LagLeft, p, "committed %d, the last input is %d", l.committed, last)
	if h, known := c.holders[p]; (!known || h.gone) && c.tracksHolders {
		c.violate(Stranded, p, "committed %d, the last input is %d, and nobody holds it", l.committed, last)
	}
}

func (c *Checker) finishHanded(p Partition, l *inputLog) {
	if !c.tracksHandler {
		return
	}
	first := int64(-1)
	var passed sentinel.Passed
	for o := max(l.base, 0); o < min(l.committed, l.end()); o++ {
		id, ok := l.id(o)
		if !ok {
			continue
		}
		passed.All++
		switch {
		case c.handed.Has(id):
			passed.HandedOut++
		case c.dead.Has(id):
			passed.DoneBefore++
		case l.isExcused(o):
			passed.GivenUp++
		case first < 0:
			first = o
		}
	}
	if skipped := passed.Skipped(); skipped > 0 {
		c.violate(SkippedSilently, p, "%d inputs below the committed %d, the first at %s", skipped, l.committed, c.describe(l, first))
	}
}
