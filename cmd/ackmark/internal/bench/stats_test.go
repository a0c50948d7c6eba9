package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		before := slices.Clone(c.samples)
		if got := median(c.samples); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.samples, got, c.want)
		}
		if !slices.Equal(before, c.samples) {
			t.Errorf("median changed its argument to %v", c.samples)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestIntervalOfEqualSamplesIsAPoint(t *testing.T) {
	got := interval([]float64{2, 2, 2, 2})
	if want := (Interval{Median: 2, Low: 2, High: 2, Pairs: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestIntervalIsRepeatable(t *testing.T) {
	samples := []float64{0.9, 1.1, 1, 0.95, 1.2, 0.99}
	if a, b := interval(samples), interval(samples); a != b {
		t.Errorf("%+v, then %+v", a, b)
	}
}

// The interval must hold the true median about as often as it says. 16 pairs of a skewed
// distribution, 300 times.
func TestIntervalCovers(t *testing.T) {
	if testing.Short() {
		t.Skip("5,000 resamples, 300 times over: not with -short")
	}
	random := rand.New(rand.NewPCG(7, 7))
	const trials, truth = 300, 1.0
	held := 0
	for range trials {
		samples := make([]float64, 16)
		for i := range samples {
			samples[i] = truth * math.Exp(0.06*random.NormFloat64())
		}
		if iv := interval(samples); iv.Low <= truth && truth <= iv.High {
			held++
		}
	}
	if share := float64(held) / trials; share < 0.90 || share > 0.995 {
		t.Errorf("the 95 %% interval held the median in %.1f %% of the trials", share*100)
	}
}

func TestPairsAreOfTheSameRound(t *testing.T) {
	got := pairs([]float64{2, 6, 5}, []float64{1, 2})
	if want := []float64{2, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got = differences([]float64{2, 6}, []float64{1, 2, 9})
	if want := []float64{1, 4}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
