package tally_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/ackmark/ackmark/bench/peers/internal/tally"
)

// see adds outputs, one a second.
func see(t *tally.Tally, start time.Time, inputs ...int) {
	for i, n := range inputs {
		t.Add(fmt.Appendf(nil, "%0*dABC", tally.Digits, n), start.Add(time.Duration(i)*time.Second))
	}
}

func TestLostAndRepeated(t *testing.T) {
	for _, c := range []struct {
		name                     string
		outputs                  []int
		inputs                   int
		lost, repeated, distinct int
	}{
		{"none of none", nil, 0, 0, 0, 0},
		{"all", []int{0, 1, 2, 3}, 4, 0, 0, 4},
		{"all, in another order", []int{3, 1, 0, 2}, 4, 0, 0, 4},
		{"nothing", nil, 4, 4, 0, 0},
		{"one lost in the middle", []int{0, 2, 3}, 4, 1, 0, 3},
		{"the last lost", []int{0, 1, 2}, 4, 1, 0, 3},
		{"one twice", []int{0, 1, 1, 2, 3}, 4, 0, 1, 4},
		{"one three times, one lost", []int{0, 1, 1, 1, 3}, 4, 1, 2, 3},
		{"many lost", []int{9000}, 9001, 9000, 0, 1},
		{"one that is not of the first four", []int{0, 1, 2, 3, 7}, 4, 0, 0, 5},
	} {
		tl := tally.New(2)
		see(tl, time.Unix(0, 0), c.outputs...)
		if got := [3]int{tl.Lost(c.inputs), tl.Repeated(), tl.Distinct()}; got != [3]int{c.lost, c.repeated, c.distinct} {
			t.Errorf("%s: lost, repeated, distinct are %v, want %d, %d, %d", c.name, got, c.lost, c.repeated, c.distinct)
		}
	}
}

func TestStrangeOutputs(t *testing.T) {
	tl := tally.New(1)
	for _, value := range []string{"", "12", "abcdefghijklmnop", "-00000000001X", "999999999999X", "000000000001x"} {
		if tl.Add([]byte(value), time.Now()) {
			t.Errorf("%q counts as an input's output", value)
		}
	}
	if tl.Strange() != 6 || tl.Distinct() != 0 {
		t.Errorf("%d strange, %d distinct", tl.Strange(), tl.Distinct())
	}
}

// A stall is a partition's own, begins with its first output, and repeats do not end it.
func TestStall(t *testing.T) {
	for _, c := range []struct {
		name    string
		outputs []int // partition 0 has the even ones
		stall   time.Duration
	}{
		{"nothing", nil, 0},
		{"one output", []int{0}, 0},
		{"both partitions in turn", []int{0, 1, 2, 3}, 2 * time.Second},
		{"one partition stands still while the other goes on", []int{0, 1, 3, 5, 7, 2}, 5 * time.Second},
		{"repeats do not count", []int{0, 0, 0, 0, 2}, 4 * time.Second},
		{"what never comes again is lost, no stall", []int{0, 1, 3, 5}, time.Second},
	} {
		tl := tally.New(2)
		see(tl, time.Unix(100, 0), c.outputs...)
		if tl.Stall() != c.stall {
			t.Errorf("%s: %v, want %v", c.name, tl.Stall(), c.stall)
		}
	}
}

func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		samples           []float64
		median, low, high float64
	}{
		{[]float64{3}, 3, 3, 3},
		{[]float64{5, 1, 3}, 3, 1, 5},
		{[]float64{4, 1, 2, 3}, 2.5, 1, 4},
		{[]float64{2, 2, 2, 2, 2}, 2, 2, 2},
	} {
		got := tally.IntervalOf(c.samples)
		if got.Median != c.median || got.Low != c.low || got.High != c.high || got.Rounds != len(c.samples) {
			t.Errorf("%v: %+v, want %v (%v … %v)", c.samples, got, c.median, c.low, c.high)
		}
		if again := tally.IntervalOf(c.samples); again != got {
			t.Errorf("%v: %+v, and then %+v", c.samples, got, again)
		}
	}
	if got := tally.IntervalOf(nil); !math.IsNaN(got.Median) {
		t.Errorf("no samples: %+v", got)
	}
	many := make([]float64, 101)
	for i := range many {
		many[i] = float64(i)
	}
	if got := tally.IntervalOf(many); got.Median != 50 || got.Low < 25 || got.Low > 49 || got.High < 51 || got.High > 75 {
		t.Errorf("0 to 100: %+v", got)
	}
	if got := tally.Ratios([]float64{2, 9, math.NaN(), 1}, []float64{1, 3, 1}); !slices.Equal(got, []float64{2, 3}) {
		t.Errorf("ratios: %v", got)
	}
}

func TestOrders(t *testing.T) {
	all := []string{"a", "b", "c", "d"}
	want := [][]string{{"a", "b", "c", "d"}, {"a", "d", "c", "b"}, {"c", "d", "a", "b"}, {"c", "b", "a", "d"}}
	for i, got := range tally.Orders(all, 4) {
		if !slices.Equal(got, want[i]) {
			t.Errorf("round %d: %v, want %v", i, got, want[i])
		}
	}
	if got := tally.Orders([]string{}, 2); len(got) != 2 || len(got[0]) != 0 {
		t.Errorf("of nobody: %v", got)
	}
}
