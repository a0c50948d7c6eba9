package telemetry_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// However many durations there are, few of each moment are recorded; where there are few, all are.
func TestFewDurationsAreDue(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	for name, x := range map[string]struct {
		every   time.Duration
		n, want int
	}{
		"a thousand a second": {time.Millisecond, 1000, 1000},
		"a million a second":  {time.Microsecond, 100_000, 160},
		"all at once":         {0, 100_000, 16},
	} {
		var due telemetry.Due
		got := 0
		for i := range x.n {
			if due.At(began.Add(time.Duration(i) * x.every)) {
				got++
			}
		}
		if got != x.want {
			t.Errorf("%s: %d of %d are recorded, want %d", name, got, x.n, x.want)
		}
	}
}

// Goroutines that measure at the same moment share what is due.
func TestWhatIsDueIsShared(t *testing.T) {
	var due telemetry.Due
	var got atomic.Int64
	var wg sync.WaitGroup
	now := time.Now()
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				if due.At(now) {
					got.Add(1)
				}
			}
		})
	}
	if wg.Wait(); got.Load() != 16 {
		t.Errorf("%d are recorded, want 16", got.Load())
	}
}
