package recent_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/recent"
)

var start = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// What is read is what a sorted list says, but for a 32nd.
func TestQuantiles(t *testing.T) {
	parts := []float64{0, .5, .95, .99, .999, 1}
	rapid.Check(t, func(t *rapid.T) {
		var w recent.Window
		var list []time.Duration
		for _, us := range rapid.SliceOfN(rapid.Int64Range(0, 130_000_000), 1, 400).Draw(t, "microseconds") {
			d := time.Duration(us) * time.Microsecond
			n := rapid.IntRange(1, 3).Draw(t, "times")
			w.Add(start, d, n)
			for range n {
				list = append(list, d)
			}
		}
		slices.Sort(list)
		got, count := w.Quantiles(start.Add(time.Second), parts...)
		if count != uint64(len(list)) {
			t.Fatalf("%d of %d", count, len(list))
		}
		for i, part := range parts {
			want := list[min(int(part*float64(len(list))), len(list)-1)]
			if off := (got[i] - want).Abs(); off > want/32+time.Microsecond {
				t.Fatalf("the quantile %v of %d is %s, want %s", part, len(list), got[i], want)
			}
		}
	})
}

// What is older than the window is forgotten, whether something new comes or not.
func TestWhatIsOldIsForgotten(t *testing.T) {
	var w recent.Window
	if d, n := w.Quantiles(start, .5); n != 0 || d[0] != 0 {
		t.Errorf("of nothing: %v of %d", d, n)
	}
	w.Add(start, time.Second, 1)
	for at := time.Duration(0); at < recent.Length; at += time.Second {
		if _, n := w.Quantiles(start.Add(at), .5); n != 1 {
			t.Fatalf("after %s %d are known", at, n)
		}
	}
	if _, n := w.Quantiles(start.Add(recent.Length), .5); n != 0 {
		t.Errorf("after the window %d are known", n)
	}
	for at := time.Duration(0); at < time.Hour; at += 100 * time.Millisecond {
		w.Add(start.Add(at), time.Millisecond, 1)
	}
	if d, n := w.Quantiles(start.Add(time.Hour), 1); n < 250 || n > 300 || d[0] > 2*time.Millisecond {
		t.Errorf("%d are known of thirty seconds, the longest %s", n, d[0])
	}
}

// Durations that there are not, or that no delivery takes, are counted somewhere.
func TestWhatIsOutOfRange(t *testing.T) {
	var w recent.Window
	for _, d := range []time.Duration{-time.Hour, 1<<63 - 1, -1 << 63} {
		w.Add(start, d, 1)
	}
	if d, n := w.Quantiles(start, 0, 1); n != 3 || d[0] != 0 || d[1] < 2*time.Minute {
		t.Errorf("%v of %d", d, n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var w recent.Window
	var some [1024]time.Duration
	for i := range some {
		some[i] = time.Duration(rand.Int64N(int64(time.Second)))
	}
	for i := 0; b.Loop(); i++ {
		w.Add(start, some[i%len(some)], 1)
	}
}
