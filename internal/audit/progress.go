package audit

import (
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/topicread"
)

// Progress is how far an audit is. Its fields may be read while it runs.
type Progress struct {
	// Offsets is how many offsets are to be read in all, Progress how many were.
	Offsets atomic.Int64
	topicread.Progress
	// Entries is how many entries are to be compared, Compared how many were. 0 while the topics
	// are read.
	Entries, Compared atomic.Int64
}
