package kafkatest

import (
	"testing"
	"time"
)

// Eventually asks every 20 ms until ok returns nil, and fails the test with its last error when
// that has not come within limit.
func Eventually(tb testing.TB, limit time.Duration, what string, ok func() error) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("waited %s for %s: %v", limit, what, err)
		}
		<-tick.C
	}
}
