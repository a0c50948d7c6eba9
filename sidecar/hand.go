package sidecar

import "sync/atomic"

// inHand is the records of a session that are in the lane's hands. When enough of them wait, a
// transaction is ended before it is due. What is in one that ends does not wait: with it, a few
// units that came behind a large transaction would be the next one, as soon as that has ended, and
// each costs a broker some milliseconds. It counts a little wrong where its methods run at the same
// time, and for units of a transaction that was aborted, until the next one ends: then one may end
// early, or when it is due.
type inHand struct {
	records atomic.Int64
	closing atomic.Int64 // of them, of the transaction that ends
	credit  atomic.Int64
	told    atomic.Bool // that enough wait, since a transaction began to end
}

// comes counts what is handed over, and tells when enough wait, once for each transaction: three
// quarters of a credit, or of what may be in hand where that is less.
func (c *inHand) comes(records, most int64) bool {
	waiting := c.records.Add(records) - c.closing.Load()
	return waiting >= max(1, min(c.credit.Load(), most)/4*3) && c.told.CompareAndSwap(false, true)
}

// goes counts what is decided: that of the transaction that ends, if there is one.
func (c *inHand) goes(records int64) {
	c.records.Add(-records)
	for {
		now := c.closing.Load()
		if c.closing.CompareAndSwap(now, max(0, now-records)) {
			return
		}
	}
}

// closes notes that a transaction begins to end, with all that has come.
func (c *inHand) closes() {
	c.closing.Store(c.records.Load())
	c.told.Store(false)
}
