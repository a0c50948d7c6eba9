package bench

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a process used is what came since the first look, except what is counted since it began.
func TestUsageSince(t *testing.T) {
	start := Usage{CPU: time.Second, Mallocs: 10, AllocBytes: 100, GCs: 1, ProduceRequests: 5, Requests: 20, Transactions: 2, Connections: 3, PeakRSS: 70}
	end := Usage{CPU: 3 * time.Second, Mallocs: 25, AllocBytes: 400, GCs: 4, ProduceRequests: 9, Requests: 50, Transactions: 9, Connections: 6, PeakRSS: 90}
	if got, want := end.Since(start), (Usage{CPU: 2 * time.Second, Mallocs: 15, AllocBytes: 300, GCs: 3, ProduceRequests: 4, Requests: 30, Transactions: 7, Connections: 6, PeakRSS: 90}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A run in whose directory there never was a session file measured nothing of them.
func TestKeptFiles(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	dir, err := b.stateDir(library+kept, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := keptFiles(dir); err == nil {
		t.Error("no file, and nobody complains")
	}
	file := filepath.Join(dir, "session")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Remove(file)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(keptFiles(dir), keptFiles("")); err != nil {
		t.Errorf("there was one: %v", err)
	}
}

// The sidecar's latency is added to the bare loop's, slice by slice, and records that are lost or
// repeated make the bench's counts wrong.
func TestLatencyIsConcluded(t *testing.T) {
	for what, c := range map[string]struct {
		lost     int
		repeated int64
		wrong    []string
	}{
		"all once": {0, 0, nil},
		"lost":     {1, 0, []string{"latency: 1 records lost"}},
		"both":     {1, 2, []string{"latency: 1 records lost", "latency: 2 records repeated"}},
	} {
		b, l := &bench{result: &Result{}}, new(load)
		l.repeated.Store(c.repeated)
		r := &Latency{Lost: c.lost, Paths: []LatencyPath{{Medians: []float64{1, 3}}, {Medians: []float64{2, 7}}}}
		b.concludeLatency(r, l, []*path{{name: bare, all: []float64{4, 1, 3, 2}}, {name: viaSidecar}})
		if !slices.Equal(r.Added, []float64{1, 4}) || r.Paths[0].P50 != 2 || r.Paths[0].P99 != 4 || r.Repeated != int(c.repeated) {
			t.Errorf("%s: added %v, quantiles %v %v", what, r.Added, r.Paths[0].P50, r.Paths[0].P99)
		}
		slices.Sort(b.result.Wrong)
		if !slices.Equal(b.result.Wrong, c.wrong) {
			t.Errorf("%s: wrong %q, want %q", what, b.result.Wrong, c.wrong)
		}
	}
}

// Now against before: twice as fast is 2, half the CPU 0.5. The memory goal is what the process
// held at most, of its limit.
func TestGoalsAgainstBeforeAndOfMemory(t *testing.T) {
	r := &Result{Memory: &Memory{Limit: 100, Budget: 25, PeakRSS: 80, PeakHeap: 10}}
	for round := range 3 {
		r.add(library+before, Race{Round: round, Wall: 2 * time.Second, App: Usage{CPU: 2 * time.Second}, Inputs: 1})
		r.add(library, Race{Round: round, Wall: time.Second, App: Usage{CPU: time.Second}, Inputs: 1})
	}
	want := map[string]struct {
		value   float64
		verdict Verdict
	}{
		library + " / " + library + before + ", speed": {2, Stretch},
		library + " / " + library + before + ", CPU":   {0.5, Stretch},
		"peak memory while a handler stalls / limit":   {0.8, Must},
	}
	found := 0
	for _, g := range goals(r) {
		if w, ok := want[g.What]; ok {
			found++
			if g.Value.Median != w.value || g.Verdict != w.verdict {
				t.Errorf("%s: %v, %s; want %v, %s", g.What, g.Value.Median, g.Verdict, w.value, w.verdict)
			}
		} else if !strings.HasPrefix(g.What, "allocations") {
			t.Errorf("a goal of what did not run: %s", g.What)
		}
	}
	if found != len(want) {
		t.Errorf("%d of %d goals", found, len(want))
	}
}

// One count that does not add up is an error, however good the figures are.
func TestWrongCountsAreAnError(t *testing.T) {
	if err := (&Result{Wrong: []string{}}).err(); err != nil {
		t.Error(err)
	}
	if err := (&Result{Wrong: []string{"one"}}).err(); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
}

// The interval of 1 to 16 is as wide as 95 % need: the median's tails, and not its middle.
func TestIntervalIsWide(t *testing.T) {
	var samples []float64
	for i := range 16 {
		samples = append(samples, float64(i+1))
	}
	if iv := interval(samples); iv.Low > 5.5 || iv.Low < 3 || iv.High < 11.5 || iv.High > 14 {
		t.Errorf("%+v", iv)
	}
}
