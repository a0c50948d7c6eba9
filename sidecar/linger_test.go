package sidecar_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/sidecar"
)

// A message of more records than a partition's queue takes: the rest of it, which is handed over
// when there is room again, waits no longer for others that do not come than the first of it.
func TestWhatWaitedForRoomDoesNotLinger(t *testing.T) {
	lingers := func(c *sidecar.Config) {
		c.Linger, c.MaxLinger, c.PartitionRecords = 5*time.Millisecond, 10*time.Second, 4
	}
	inDeath(t, lingers, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		m.assignAs(b.part(t, 1))
		m.units(from(0)...)
		m.reported(1)
		begun := time.Now()
		offsets := make([]uint64, 40)
		for i := range offsets {
			offsets[i] = uint64(i + 1)
		}
		m.units(from(offsets...)...)
		m.reported(41)
		synctest.Wait()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("40 records through a queue of 4 took %s, at a linger of 5ms", took)
		}
	})
}
