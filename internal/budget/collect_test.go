package budget

import (
	"runtime/debug"
	"testing"
)

// The environment's GOGC wins.
func TestCollectEarly(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, c := range []struct {
		gogc string
		want int
	}{{"70", 100}, {"", earlyPercent}} {
		t.Setenv("GOGC", c.gogc)
		CollectEarly()
		if got := debug.SetGCPercent(100); got != c.want {
			t.Errorf("GOGC=%q: %d percent, want %d", c.gogc, got, c.want)
		}
	}
}
