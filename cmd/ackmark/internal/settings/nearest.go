package settings

import (
	"slices"
	"strings"
)

// nearest returns the known name that is closest to what was written, or "" if none is close.
func nearest(written string, known []string) string {
	best, bestDistance := "", len(written)/2+1
	for _, name := range slices.Sorted(slices.Values(known)) {
		if len(written) >= 3 && strings.HasPrefix(name, written) { // cert of certificate
			return name
		}
		if d := distance(written, name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// unknown says that a name is not known, and which one might have been meant.
func unknown(what, written string, known []string) string {
	msg := "unknown " + what + " " + quote(written)
	if n := nearest(written, known); n != "" {
		msg += "; did you mean " + quote(n) + "?"
	}
	return msg
}

// Nearest returns the known name that is closest to what was written, or "" if none is close.
func Nearest(written string, known []string) string { return nearest(written, known) }

// CheckListen tells what is wrong with an address of the sidecar.
func CheckListen(address string) error {
	_, err := asListen(address)
	return err
}
