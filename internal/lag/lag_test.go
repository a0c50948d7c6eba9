package lag

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// readings are one every five seconds, of committed and end.
func readings(pairs ...int64) (window []Reading) {
	for i := 0; i < len(pairs); i += 2 {
		r := Reading{At: time.Unix(int64(i/2*5), 0), Committed: pairs[i], End: pairs[i+1]}
		r.Lag = max(r.End-max(r.Committed, 0), 0)
		window = append(window, r)
	}
	return window
}

func TestVerdicts(t *testing.T) {
	failed := Reading{Problem: "no leader"}
	for name, c := range map[string]struct {
		window []Reading
		want   Verdict
		note   string
	}{
		"one reading, caught up":                   {readings(7, 7), OK, ""},
		"one reading, empty":                       {readings(None, 0), OK, ""},
		"one reading":                              {readings(5, 7), Unknown, "one reading cannot tell"},
		"never committed, one reading":             {readings(None, 7), Unknown, "never committed"},
		"never committed":                          {readings(None, 7, None, 9, None, 9), Stalled, "never committed"},
		"stalled":                                  {readings(5, 7, 5, 7, 5, 7), Stalled, ""},
		"stalled though messages arrive":           {readings(5, 7, 5, 9, 5, 20), Stalled, ""},
		"not for long":                             {readings(5, 7, 5, 9), Unknown, "less than 10s"},
		"growing":                                  {readings(5, 7, 6, 19, 7, 30, 8, 40), Growing, ""},
		"growing, of two":                          {readings(5, 7, 6, 19), Growing, ""},
		"draining":                                 {readings(5, 70, 20, 70, 40, 71, 60, 72), Draining, ""},
		"keeps its distance":                       {readings(5, 10, 15, 20, 25, 30, 35, 40), OK, ""},
		"in steps":                                 {readings(0, 10, 0, 20, 20, 30, 20, 40, 40, 50, 40, 60), OK, ""},
		"caught up within the window":              {readings(0, 5, 5, 5, 5, 9), OK, ""},
		"caught up, then nothing for a window":     {readings(5, 6, 5, 9, 5, 9), Stalled, ""},
		"cannot be read now":                       {append(readings(5, 7, 5, 7), failed), Unknown, "no leader"},
		"could not be read before":                 {append([]Reading{failed}, readings(5, 7, 5, 7, 5, 7)...), Stalled, ""},
		"could not be read between":                {slices.Concat(readings(5, 7), []Reading{failed}, readings(5, 7)), Unknown, "one reading"},
		"set back: what was before does not count": {readings(50, 60, 0, 60, 0, 60), Unknown, "less than 10s"},
		"created anew":                             {readings(50, 60, 50, 60, None, 3), Unknown, "never committed"},
		"beyond the end":                           {readings(50, 20, 50, 20, 50, 20), Unknown, "beyond the end 20"},
	} {
		got := Judge(c.window)
		if notes := strings.Join(got.Notes, "; "); got.Verdict != c.want || !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
			t.Errorf("%s: %s %q, want %s %q", name, got.Verdict, notes, c.want, c.note)
		}
	}
}

// What is done above the mark does not move it, and is told.
func TestABlockedMark(t *testing.T) {
	window := readings(5, 20, 5, 30, 5, 40)
	window[2].Above = 30
	if got := Judge(window); got.Verdict != Stalled || !strings.Contains(strings.Join(got.Notes, ""), "one below blocks them") {
		t.Errorf("%+v", got)
	}
	below := Reading{At: time.Unix(0, 0), Start: 10, Committed: 4, End: 30, Lag: 26}
	if got := Judge([]Reading{below}); !strings.Contains(strings.Join(got.Notes, ""), "6 offsets were deleted") {
		t.Errorf("%+v", got)
	}
}

func TestRates(t *testing.T) {
	got := Judge(readings(0, 100, 50, 120))
	if !got.Rated || got.Arriving != 4 || got.Done != 10 || got.Drained.Round(time.Second) != 12*time.Second {
		t.Errorf("%+v", got)
	}
	if got := Judge(readings(0, 100)); got.Rated || got.Drained != 0 {
		t.Errorf("%+v", got)
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		all  []Verdict
		want Verdict
	}{{nil, Unknown}, {[]Verdict{OK}, OK}, {[]Verdict{OK, Draining}, Draining}, {[]Verdict{Draining, Unknown, OK}, Unknown}, {[]Verdict{Unknown, Growing}, Growing}, {[]Verdict{Growing, Stalled}, Stalled}} {
		if got := Worst(c.all); got != c.want {
			t.Errorf("%v: %s, want %s", c.all, got, c.want)
		}
	}
}

// Histories of a consumer that is told how fast to be: the verdict says it, from any window that is
// long enough, whatever was before.
func TestAgainstAHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, committed := time.Unix(rapid.Int64Range(0, 1e9).Draw(t, "at"), 0), rapid.Int64Range(0, 1e6).Draw(t, "committed")
		end := committed + rapid.Int64Range(1000, 1e6).Draw(t, "lag")
		arriving := rapid.Int64Range(0, 50).Draw(t, "arriving")
		handled := rapid.Int64Range(0, 50).Draw(t, "handled")
		n := rapid.IntRange(2, 12).Draw(t, "readings")
		var window []Reading
		if rapid.Bool().Draw(t, "set back before") {
			window = append(window, Reading{At: at.Add(-time.Second), Committed: end, End: end})
			window[0].Lag = 0
		}
		for range n {
			window = append(window, Reading{At: at, Committed: committed, End: end, Lag: end - committed})
			at, committed, end = at.Add(10*time.Second), committed+handled, end+arriving
		}
		want := OK
		switch {
		case handled == 0:
			want = Stalled
		case arriving > handled:
			want = Growing
		case arriving < handled:
			want = Draining
		}
		if got := Judge(window); got.Verdict != want {
			t.Fatalf("arriving %d, handled %d: %s, want %s\n%+v", arriving, handled, got.Verdict, want, window)
		}
	})
}
