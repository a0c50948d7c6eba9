// Package figures makes numbers of what demo, bench, chaos and e2e measure, and shows them.
package figures

import (
	"cmp"
	"math"
	"strconv"
)

// Quantile is the smallest of sorted samples that a share q of them does not exceed: the nearest
// rank. Of no samples it is 0.
func Quantile[T cmp.Ordered](sorted []T, q float64) (value T) {
	if len(sorted) == 0 {
		return value
	}
	rank := int(math.Ceil(q*float64(len(sorted))-1e-9)) - 1 // 0.55 of 20 is 11, and in binary a little more
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// Thousands groups digits.
func Thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
