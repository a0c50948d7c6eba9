package sidecar

import "github.com/ackmark/ackmark/internal/ledger"

// window is what a session may have outstanding: its credit. It is granted with Welcome and stays:
// a credit that shrinks would meet units that were sent under the larger one, and nothing in the
// protocol tells which.
//
// Half of what sessions may have is divided into MaxSessions floors that nobody can take. Of the
// other half a session gets an eighth of the whole, but at most half of what is left: a pod with a
// few apps runs each at full speed, and one with MaxSessions apps still bounds their sum (S9).
type window struct {
	bytes   int64
	records int
}

// credit is the same, in the ledger's words.
func (w window) credit() ledger.Cost { return ledger.Cost{Bytes: w.bytes, Records: int64(w.records)} }

func (c *Config) floor() window { return window{c.windowBytes(), c.windowRecords()} }

// grant takes a window out of what is left. Under s.mu.
func (s *Server) grant() window {
	floor, bytes, records := s.cfg.floor(), s.cfg.MaxBytes/16*7, s.cfg.MaxRecords/16*7
	extra := window{min((bytes-s.lent.bytes)/2, bytes/4), min((records-s.lent.records)/2, records/4)}
	s.lent.bytes += extra.bytes
	s.lent.records += extra.records
	return window{floor.bytes + extra.bytes, floor.records + extra.records}
}

// giveBack returns what grant took. Under s.mu.
func (s *Server) giveBack(w window) {
	floor := s.cfg.floor()
	s.lent.bytes -= w.bytes - floor.bytes
	s.lent.records -= w.records - floor.records
}
