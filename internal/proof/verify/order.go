package verify

import (
	"cmp"
	"math"
	"slices"

	"github.com/ackmark/ackmark/internal/proof/judge"
)

// placed is a record that a read_committed reader has not seen yet: it stands behind the beginning
// of a transaction that is open.
type placed struct {
	offset int64
	see    func()
}

// later lets a record be seen when no transaction is open before it, in the order of the log.
func (c *Checker) later(p Partition, offset int64, see func()) {
	if offset < c.stable(p) && len(c.exactly.unread[p]) == 0 {
		see()
		return
	}
	rs := c.exactly.unread[p]
	i, _ := slices.BinarySearchFunc(rs, offset, func(r placed, o int64) int { return cmp.Compare(r.offset, o) })
	c.exactly.unread[p] = slices.Insert(rs, i, placed{offset, see})
}

// stable returns the offset below which all transactions of a partition have ended.
func (c *Checker) stable(p Partition) int64 {
	lso := int64(math.MaxInt64)
	for t := range c.exactly.open {
		if first, has := t.first[p]; has {
			lso = min(lso, first)
		}
	}
	return lso
}

// readOn shows what stands before the first transaction that is open.
func (c *Checker) readOn(p Partition) {
	rs, lso := c.exactly.unread[p], c.stable(p)
	n := 0
	for ; n < len(rs) && rs[n].offset < lso; n++ {
		rs[n].see()
	}
	if c.exactly.unread[p] = rs[n:]; n == len(rs) {
		delete(c.exactly.unread, p)
	}
}

// checkOrder holds S7.
func (c *Checker) checkOrder(p Partition, offset int64, id ID) {
	keys := c.keys[p.Topic]
	if keys == nil {
		keys = new(judge.Order)
		c.keys[p.Topic] = keys
	}
	inOrder, samePartition := keys.First(id.Key, id.Seq, p.Partition)
	at := c.home[id.Global]
	if !inOrder {
		c.violate(Reordered, at.p, "output %v at %v offset %d comes after a later one of its key; its input is offset %d", id, p, offset, at.offset)
	}
	if !samePartition {
		c.violate(KeySplit, at.p, "output %v at %v offset %d, but earlier ones of its key are in partition %d", id, p, offset, keys.Home(id.Key))
	}
}
