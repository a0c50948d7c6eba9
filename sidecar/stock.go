package sidecar

import (
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// commonStock is what sessions share beside the memory of records.
type commonStock struct {
	entries *limit.Commons // of trackers; one takes about 17 bytes
	kept    *limit.Commons // bytes of what a session says that costs no credit: assignments, done-sets, names
}

func newCommonStock(c *Config) commonStock {
	return commonStock{
		entries: limit.NewCommons(int64(c.MaxRecords)*trackedPerRecord, c.MaxSessions),
		kept:    limit.NewCommons(c.MaxBytes, c.MaxSessions),
	}
}

// holdings is what one session has of it. session.mu guards the counters.
type holdings struct {
	entries, kept limit.Share
	unanswered    int    // Releases whose answer is not sent
	refused       uint64 // units that came for assignments that the session did not hold
}

func (c *commonStock) holdings() holdings {
	return holdings{entries: c.entries.Share(), kept: c.kept.Share()}
}

func (h *holdings) close() {
	h.entries.Close()
	h.kept.Close()
}

// answered counts the Releases whose answer is being sent.
func (h *holdings) answered(sent []*sidecarpb.DeliveryStreamResponse) {
	for _, m := range sent {
		if m.GetReleased() != nil {
			h.unanswered--
		}
	}
}
