package bench

import (
	"slices"
	"testing"
)

func TestScheduleAlternates(t *testing.T) {
	rounds := schedule([]string{"a", "b", "c"}, nil, 4)
	want := [][]string{{"a", "b", "c"}, {"c", "b", "a"}, {"a", "b", "c"}, {"c", "b", "a"}}
	if !slices.EqualFunc(rounds, want, slices.Equal) {
		t.Errorf("got %v, want %v", rounds, want)
	}
}

// A drift that grows with every run must cancel out between the members of a pair.
func TestScheduleCancelsDrift(t *testing.T) {
	at := map[string]int{}
	position := 0
	for _, round := range schedule([]string{"a", "b", "c"}, nil, 16) {
		for _, name := range round {
			at[name] += position
			position++
		}
	}
	if at["a"] != at["b"] || at["b"] != at["c"] {
		t.Errorf("sums of positions differ: %v", at)
	}
}

func TestControlsRunNowAndThen(t *testing.T) {
	for _, c := range []struct{ rounds, want int }{{1, 1}, {3, 1}, {4, 1}, {8, 2}, {16, 4}} {
		got := 0
		for _, round := range schedule([]string{"a"}, []string{"control"}, c.rounds) {
			if slices.Contains(round, "control") {
				got++
			}
			if !slices.Contains(round, "a") {
				t.Errorf("round %v without its contestant", round)
			}
		}
		if got != c.want {
			t.Errorf("%d rounds: the control ran %d times, want %d", c.rounds, got, c.want)
		}
	}
}
