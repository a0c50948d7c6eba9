package bench

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Interval is a median with its bootstrap interval.
type Interval struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Pairs  int     `json:"pairs"`
}

const (
	resamples  = 5000
	confidence = 0.95
)

// interval is the percentile bootstrap of the median: resample the pairs with replacement, take
// each resample's median, cut off the tails. The seed is fixed, so the same samples give the same
// interval.
func interval(samples []float64) Interval {
	if len(samples) == 0 {
		return Interval{Median: math.NaN(), Low: math.NaN(), High: math.NaN()}
	}
	random := rand.New(rand.NewPCG(1, uint64(len(samples))))
	resample := make([]float64, len(samples))
	medians := make([]float64, resamples)
	for i := range medians {
		for j := range resample {
			resample[j] = samples[random.IntN(len(samples))]
		}
		medians[i] = medianInPlace(resample)
	}
	return between(samples, medians)
}

// between is the interval of samples, from the medians of their resamples.
func between(samples, medians []float64) Interval {
	slices.Sort(medians)
	tail := (1 - confidence) / 2
	return Interval{
		Median: median(samples),
		Low:    medians[int(tail*resamples)],
		High:   medians[int((1-tail)*resamples)-1],
		Pairs:  len(samples),
	}
}

// setsInterval is the same of samples in sets that have something in common (their processes):
// whole sets are resampled, and samples within them. With one set it is the interval of its
// samples.
func setsInterval(sets [][]float64) Interval {
	all := slices.Concat(sets...)
	if len(sets) < 2 {
		return interval(all)
	}
	random := rand.New(rand.NewPCG(2, uint64(len(all))))
	medians := make([]float64, resamples)
	var resample []float64
	for i := range medians {
		resample = resample[:0]
		for range sets {
			set := sets[random.IntN(len(sets))]
			for range set {
				resample = append(resample, set[random.IntN(len(set))])
			}
		}
		medians[i] = medianInPlace(resample)
	}
	return between(all, medians)
}

func median(samples []float64) float64 { return medianInPlace(slices.Clone(samples)) }

func medianInPlace(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	slices.Sort(samples)
	mid := len(samples) / 2
	if len(samples)%2 == 1 {
		return samples[mid]
	}
	return (samples[mid-1] + samples[mid]) / 2
}

// pairs divides what was measured next to each other: round i of a by round i of b.
func pairs(a, b []float64) []float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return ratios
}

// differences is the same by subtraction.
func differences(a, b []float64) []float64 {
	diffs := make([]float64, min(len(a), len(b)))
	for i := range diffs {
		diffs[i] = a[i] - b[i]
	}
	return diffs
}
