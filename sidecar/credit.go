package sidecar

import "github.com/ackmark/ackmark/internal/ledger"

// credit is what a session may have outstanding. It is granted with Welcome and does not change:
// a credit that shrinks would meet units that were sent under the larger one, and nothing in the
// protocol tells which.
//
// Half of what sessions may have is divided into MaxSessions floors that nobody can take. Of the
// other half a session gets an eighth of the whole, but at most half of what is left: a pod with a
// few apps runs each at full speed, and one with MaxSessions apps still bounds their sum (S9).
type credit struct {
	bytes   int64
	records int
}

// cost is the same, in the ledger's words.
func (c credit) cost() ledger.Cost { return ledger.Cost{Bytes: c.bytes, Records: int64(c.records)} }

func (c *Config) floor() credit { return credit{c.floorBytes(), c.floorRecords()} }

// grant takes a credit out of what is left. mu is held.
func (t *table) grant() credit {
	floor, bytes, records := t.cfg.floor(), t.cfg.MaxBytes/16*7, t.cfg.MaxRecords/16*7
	extra := credit{min((bytes-t.lent.bytes)/2, bytes/4), min((records-t.lent.records)/2, records/4)}
	t.lent.bytes += extra.bytes
	t.lent.records += extra.records
	return credit{floor.bytes + extra.bytes, floor.records + extra.records}
}

// giveBack returns what grant took. mu is held.
func (t *table) giveBack(c credit) {
	floor := t.cfg.floor()
	t.lent.bytes -= c.bytes - floor.bytes
	t.lent.records -= c.records - floor.records
}
