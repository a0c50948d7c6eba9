package tally

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
	Rounds int     `json:"rounds"`
}

const (
	resamples  = 5000
	confidence = 0.95
)

// IntervalOf is the percentile bootstrap of the median, as `ackmark bench` has it: the same samples
// give the same interval. With few rounds it reaches from the smallest to the largest of them.
func IntervalOf(samples []float64) Interval {
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
		medians[i] = Median(resample)
	}
	slices.Sort(medians)
	tail := (1 - confidence) / 2
	return Interval{Median: Median(samples), Low: medians[int(tail*resamples)], High: medians[int((1-tail)*resamples)-1], Rounds: len(samples)}
}

// Median of samples; of none it is not a number.
func Median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// Ratios divides what was measured in the same round. A round that one of them lacks (not a number)
// is left out.
func Ratios(a, b []float64) (all []float64) {
	for i := range min(len(a), len(b)) {
		if r := a[i] / b[i]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			all = append(all, r)
		}
	}
	return all
}

// Orders are the contestants of each round: every round begins with the next one, and every other
// one goes backwards, so that whatever drifts falls on all alike.
func Orders[T any](all []T, rounds int) [][]T {
	orders := make([][]T, rounds)
	for i := range orders {
		first := i * max(1, len(all)/max(1, rounds)) % max(1, len(all))
		orders[i] = slices.Concat(all[first:], all[:first])
		if i%2 == 1 {
			slices.Reverse(orders[i])
		}
	}
	return orders
}
