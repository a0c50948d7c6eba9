package figures

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -100: "-100", -1000: "-1,000", 1234567: "1,234,567", -1234567: "-1,234,567"} {
		if got := Thousands(n); got != want {
			t.Errorf("Thousands(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	for q, want := range map[float64]int{0: 1, 0.25: 1, 0.26: 2, 0.5: 2, 0.51: 3, 0.99: 4, 1: 4} {
		if got := Quantile([]int{1, 2, 3, 4}, q); got != want {
			t.Errorf("Quantile(%g) = %d, want %d", q, got, want)
		}
	}
	if got := Quantile(slices.Collect(func(yield func(int) bool) {
		for i := range 20 {
			yield(i + 1)
		}
	}), 0.55); got != 11 {
		t.Errorf("55 %% of 1 to 20: %d", got)
	}
	if got := Quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

// It is the smallest sample that the share does not exceed, found by counting.
func TestQuantileAgainstCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sorted := slices.Sorted(slices.Values(rapid.SliceOfN(rapid.IntRange(0, 20), 1, 60).Draw(t, "samples")))
		percent := rapid.IntRange(1, 100).Draw(t, "percent")
		want := sorted[slices.IndexFunc(sorted, func(x int) bool {
			n := 0
			for _, y := range sorted {
				if y <= x {
					n++
				}
			}
			return n*100 >= percent*len(sorted)
		})]
		if got := Quantile(sorted, float64(percent)/100); got != want {
			t.Fatalf("%d %% of %v: %d, want %d", percent, sorted, got, want)
		}
	})
}
