package producer

import (
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// Only what changed is told, and everything now and then. That the oldest input was handed out at a
// moment that is read a little differently each time is no change.
func TestOnlyWhatChangedIsTold(t *testing.T) {
	at := time.Unix(1000, 0)
	parts := func(mark int64, jitter time.Duration) []podstate.Partition {
		return []podstate.Partition{
			{Epoch: 1, Offsets: podstate.Offsets{AckMark: mark}},
			{Epoch: 2, Oldest: &podstate.Oldest{Offset: 5, Since: at.Add(jitter)}},
		}
	}
	var told telling
	counts := []int{2, 0, 1, 0, 2}
	got := []int{
		len(told.changed(parts(1, 0))),
		len(told.changed(parts(1, time.Millisecond))),
		len(told.changed(parts(2, 0))),
		len(told.changed(parts(2, -2*time.Millisecond))),
		len(told.changed(parts(3, time.Hour))),
	}
	for i := range counts {
		if got[i] != counts[i] {
			t.Errorf("report %d tells %d partitions, want %d", i, got[i], counts[i])
		}
	}
	for i := len(counts); i < tellAllAfter; i++ {
		told.changed(parts(3, time.Hour))
	}
	if n := len(told.changed(parts(3, time.Hour))); n != 2 {
		t.Errorf("after %d reports %d are told, want all", tellAllAfter, n)
	}
	if n := len(told.changed(parts(3, time.Hour)[:1])) + len(told.changed(parts(3, time.Hour))); n != 1 {
		t.Errorf("one that left and came back: %d are told", n)
	}
}
