package audit

import "sync/atomic"

// Progress is how far an audit is. Its fields may be read while it runs.
type Progress struct {
	// Offsets is how many offsets are to be read in all, Passed how many were, Records how many
	// records they held.
	Offsets, Passed, Records atomic.Int64
	// Entries is how many entries are to be compared, Compared how many were. 0 while the topics
	// are read.
	Entries, Compared atomic.Int64
}
