package browser_test

import (
	"fmt"
	"math"
	"strconv"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

const unknown = "–"

func count[T int | int64](n T) string {
	if n < 0 {
		return unknown
	}
	return figures.Thousands(int(n))
}

func plural[T int | int64](n T, word, words string) string {
	if n == 1 {
		return "1 " + word
	}
	return count(n) + " " + words
}

// one has one digit after the point; a half is rounded up, as JavaScript does.
func one(v float64) string {
	if q := v * 4; q == math.Trunc(q) && math.Mod(q, 2) == 1 {
		v = math.Nextafter(v, math.Inf(1))
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

func whole(v float64) string { return figures.Thousands(int(math.Round(v))) }

// short is a number in at most five characters.
func short(v float64) string {
	for _, unit := range []struct {
		from, size float64
		name       string
	}{{1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}} {
		if v >= unit.from {
			if v /= unit.size; v < 100 {
				return one(v) + unit.name
			}
			return whole(v) + unit.name
		}
	}
	if v > 0 && v < 10 && v != math.Trunc(v) {
		return one(v)
	}
	return whole(v)
}

// span is a length of time.
func span(s float64) string {
	switch {
	case s > 0 && s < 0.01:
		return one(s*1000) + " ms"
	case s < 1:
		return whole(s*1000) + " ms"
	case s < 10:
		return one(s) + " s"
	}
	n := int(math.Round(s))
	for _, unit := range []struct {
		size          int
		name          string
		part          int
		smaller, none string
	}{{86400, "d", 3600, "h", ""}, {3600, "h", 60, "m", ""}, {60, "m", 1, "s", ""}} {
		if n >= unit.size {
			text := fmt.Sprint(n/unit.size, " ", unit.name)
			if rest := n % unit.size / unit.part; rest > 0 {
				text += fmt.Sprint(" ", rest, " ", unit.smaller)
			}
			return text
		}
	}
	return fmt.Sprint(n, " s")
}
