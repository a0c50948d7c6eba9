// Package tally is the arithmetic of bench/peers: what an independent reader saw of a peer's
// outputs, and medians with their intervals.
package tally

import "time"

// Digits begin each value: the input's number.
const Digits = 12

// Sequence reads the number that a value begins with.
func Sequence(value []byte) (int, bool) {
	if len(value) < Digits {
		return 0, false
	}
	n := 0
	for _, c := range value[:Digits] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n < most
}

// most is more than anybody writes: a tally has a byte for each input.
const most = 1 << 32

// Tally is what a reader has seen. Inputs are numbered from 0; input n is in partition n modulo
// Partitions.
type Tally struct {
	partitions int
	seen       []uint8
	distinct   int
	repeated   int
	strange    int
	last       []time.Time // of each partition: when an input of it was seen for the first time, lately
	stall      time.Duration
}

// New makes a tally of inputs in so many partitions.
func New(partitions int) *Tally {
	return &Tally{partitions: partitions, last: make([]time.Time, partitions)}
}

// Add counts an output that was read at a time. It tells whether its input had none before.
func (t *Tally) Add(value []byte, at time.Time) bool {
	n, ok := Sequence(value)
	if lower := ok && len(value) > Digits && value[Digits] >= 'a' && value[Digits] <= 'z'; !ok || lower {
		t.strange++
		return false
	}
	for n >= len(t.seen) {
		t.seen = append(t.seen, make([]uint8, max(4096, len(t.seen)))...)
	}
	if t.seen[n] > 0 {
		t.repeated++
		return false
	}
	t.seen[n] = 1
	t.distinct++
	p := n % t.partitions
	if gap := at.Sub(t.last[p]); !t.last[p].IsZero() && gap > t.stall {
		t.stall = gap
	}
	t.last[p] = at
	return true
}

// Distinct is the number of inputs that have an output.
func (t *Tally) Distinct() int { return t.distinct }

// Repeated is the number of outputs beyond the first of their inputs.
func (t *Tally) Repeated() int { return t.repeated }

// Strange is the number of outputs that were made from no input, or not upper-cased.
func (t *Tally) Strange() int { return t.strange }

// Lost is the number of the first so many inputs that have no output.
func (t *Tally) Lost(inputs int) int {
	there := 0
	for _, n := range t.seen[:min(inputs, len(t.seen))] {
		there += int(n)
	}
	return inputs - there
}

// Stall is the longest time in which a partition had no output of an input that had none before,
// between two that had. Inputs must be written evenly all the time.
func (t *Tally) Stall() time.Duration { return t.stall }
