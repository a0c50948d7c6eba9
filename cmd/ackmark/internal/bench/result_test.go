package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/proof/judge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestVerdicts(t *testing.T) {
	speed := Goal{Must: 0.8, Stretch: 0.95, AtLeast: true}
	cost := Goal{Must: 1.4, Stretch: 1.2}
	for _, c := range []struct {
		goal             Goal
		median, low, hig float64
		want             Verdict
	}{
		{speed, 1, 0.9, 1.1, Stretch},
		{speed, 0.9, 0.85, 0.94, Must},
		{speed, 0.79, 0.7, 0.81, Unclear},
		{speed, 0.7, 0.6, 0.79, Missed},
		{cost, 1.1, 1, 1.2, Stretch},
		{cost, 1.3, 1.25, 1.5, Must},
		{cost, 1.41, 1.39, 1.5, Unclear},
		{cost, 1.6, 1.5, 1.7, Missed},
	} {
		g := c.goal
		g.Value = Interval{Median: c.median, Low: c.low, High: c.hig}
		if got := g.judged().Verdict; got != c.want {
			t.Errorf("%v in [%v, %v] with must %v: %s, want %s", c.median, c.low, c.hig, g.Must, got, c.want)
		}
	}
}

func sample() *Result {
	r := &Result{Records: 1000, Size: 100, Partitions: 6, Broker: "test"}
	for round := range 4 {
		slow := time.Duration(round) * time.Millisecond // drift: the pairs do not see it
		r.add(bare, Race{Round: round, Wall: time.Second + slow, App: Usage{CPU: time.Second, Mallocs: 3000}, Inputs: 1000, Outputs: 1000, HandlerMallocs: 1})
		r.add(library, Race{Round: round, Wall: 2 * (time.Second + slow), App: Usage{CPU: time.Second, Mallocs: 2100}, Inputs: 1000, Outputs: 1000, HandlerMallocs: 2})
		r.add(viaSidecar, Race{
			Round: round, Wall: time.Second + slow, App: Usage{CPU: time.Second, Mallocs: 2000}, Sidecar: &Usage{CPU: time.Second, Mallocs: 500},
			Inputs: 1000, Outputs: 1000, HandlerMallocs: 2,
		})
	}
	return r
}

func TestGoalsFromRuns(t *testing.T) {
	want := map[string]float64{
		"library / bare, speed": 0.5, "library / bare, client CPU": 1, "sidecar / bare, speed": 1, "sidecar / bare, app + sidecar CPU": 2,
		"allocations per record, library": 0.1, "allocations per record, app by sidecar": 0, "allocations per record, sidecar process": 0.5,
	}
	got := goals(sample())
	if len(got) != len(want) {
		t.Errorf("%d goals, want %d", len(got), len(want))
	}
	for _, g := range got {
		if diff := g.Value.Median - want[g.What]; diff > 1e-9 || diff < -1e-9 {
			t.Errorf("%s: %v, want %v", g.What, g.Value.Median, want[g.What])
		}
	}
}

func TestGoalsOfWhatDidNotRunAreNotJudged(t *testing.T) {
	if got := goals(&Result{}); len(got) > 0 {
		t.Errorf("goals of nothing: %+v", got)
	}
}

func TestTablesNameEverything(t *testing.T) {
	r := sample()
	r.Latency = &Latency{RatePerSecond: 1000, Paths: []LatencyPath{{Name: straight, P50: 0.3}}, Added: []float64{0.1, 0.2}}
	r.Memory = &Memory{Limit: 100 << 20, Budget: 25 << 20, PeakRSS: 50 << 20, Backlog: 10_000_000}
	r.Unread = []Unread{{Records: 16, More: []float64{0.1, 0.2}}}
	r.Goals = goals(r)
	text := render(r)
	for _, want := range []string{"bare", "library", "sidecar", "0.10", "0.00 + 0.50", "10,000,000", "G1", "G2", "G6", "G7", "S9", "✗ missed", "every input came out once"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	r.Wrong = []string{"library, round 2: 999 outputs"}
	if text := render(r); !strings.Contains(text, "COUNTS ARE WRONG") || !strings.Contains(text, r.Wrong[0]) {
		t.Errorf("wrong counts are not shown:\n%s", text)
	}
}

func TestOutputsAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		values, want []string
	}{
		"good": {[]string{"000000000000ABC", "000000000001ABC", "000000000002ABC"}, nil},
		"bad": {
			[]string{"000000000000ABC", "000000000000ABC", "000000000001abc", "000000000007ABC", "?"},
			[]string{"1 outputs lost", "1 outputs repeated", "2 outputs not of this bench", "1 outputs not upper-cased"},
		},
	} {
		j := judge.New(judge.Config{Inputs: 3})
		for _, value := range c.values {
			observe(j, &kgo.Record{Value: []byte(value)})
		}
		if got := wrongOutputs(j); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	j := judge.New(judge.Config{Inputs: keys + 1})
	for _, seq := range []int{keys, 0} {
		observe(j, &kgo.Record{Value: fmt.Appendf(nil, "%0*dABC", seqDigits, seq)})
	}
	if got := wrongOutputs(j); !slices.Contains(got, "1 outputs reordered") {
		t.Errorf("two inputs of a key, swapped: %q", got)
	}
}

// Too few outputs are lost ones, too many are repeats: both are wrong counts, for every contestant.
func TestCountOfOutputs(t *testing.T) {
	for _, c := range []struct {
		role            string
		outputs, inputs int
		want            string
	}{
		{bare, 1000, 1000, ""}, {library, 1000, 1000, ""}, {viaSidecar, 1000, 1000, ""},
		{library, 999, 1000, "999 outputs in the topic of 1000"}, {library, 1001, 1000, "1001 outputs in the topic of 1000"},
		{viaSidecar, 2000, 1000, "2000 outputs in the topic of 1000"}, {bare, 0, 1000, "0 outputs in the topic of 1000"},
		{consumeBare, 0, 1000, ""}, {consumeLibrary, 0, 1000, ""}, {consumeLibrary, 1, 1000, "1 outputs in the topic of 0"},
	} {
		if got := wrongCount(c.role, c.outputs, c.inputs); got != c.want {
			t.Errorf("%s, %d outputs of %d inputs: %q, want %q", c.role, c.outputs, c.inputs, got, c.want)
		}
	}
}

func TestOptionsAreRefusedByName(t *testing.T) {
	for option, o := range map[string]Options{
		"--records": {Records: 10}, "--size": {Size: 3}, "--pairs": {Pairs: -1}, "--partitions": {Partitions: -1},
		"--concurrency": {Concurrency: -1}, "--backlog": {Backlog: 5}, "--only": {Only: []string{"librari"}},
	} {
		o.Stdout, o.Stderr = io.Discard, io.Discard
		err := Run(t.Context(), o)
		if refused, ok := errors.AsType[*OptionError](err); !ok || refused.Option != option {
			t.Errorf("%s: got %v", option, err)
		}
	}
}

// What metrics cost is judged against the same contestant without them, round by round.
func TestGoalsOfMetrics(t *testing.T) {
	r := &Result{Records: 1000}
	for name, micros := range map[string]int{library: 1000, library + idle: 1003, library + scraped: 1030} {
		took := time.Duration(micros) * time.Microsecond
		r.add(name, Race{Wall: took, App: Usage{CPU: took}, Inputs: 1000})
	}
	all := goals(r)
	for what, want := range map[string]struct {
		value   float64
		verdict Verdict
	}{
		"library, metrics that nobody reads, CPU a record": {3, Must},
		"library scraped each second / library, speed":     {1000.0 / 1030, Missed},
		"library scraped each second / library, CPU":       {1.03, Missed},
	} {
		i := slices.IndexFunc(all, func(g Goal) bool { return g.Name == "cost" && g.What == what })
		if i < 0 || all[i].Verdict != want.verdict || math.Abs(all[i].Value.Median-want.value) > 1e-6 {
			t.Errorf("%s: want %+v in %+v", what, want, all)
		}
	}
}

// What session files cost is judged against the same contestant without them, round by round: of
// the sidecar's way both processes count.
func TestGoalsOfState(t *testing.T) {
	r := &Result{Records: 1000}
	for name, micros := range map[string]int{viaSidecar: 1000, viaSidecar + kept: 1050} {
		took := time.Duration(micros) * time.Microsecond
		r.add(name, Race{Wall: took, App: Usage{CPU: took}, Sidecar: &Usage{Mallocs: uint64(micros)}, Inputs: 1000})
	}
	all := goals(r)
	for what, want := range map[string]struct {
		value   float64
		verdict Verdict
	}{
		"sidecar-state / sidecar, speed":             {1000.0 / 1050, Missed},
		"sidecar-state / sidecar, CPU":               {1.05, Missed},
		"sidecar-state, more allocations per record": {0.05, Missed},
	} {
		i := slices.IndexFunc(all, func(g Goal) bool { return g.Name == "cost" && g.What == what })
		if i < 0 || all[i].Verdict != want.verdict || math.Abs(all[i].Value.Median-want.value) > 1e-6 {
			t.Errorf("%s: want %+v in %+v", what, want, all)
		}
	}
}

// A sidecar that has one CPU is held against one that has all, by its own processor time and by
// that of both processes.
func TestGoalsOfOneCPU(t *testing.T) {
	o := Options{Only: []string{partOneCPU}}
	if contestants, _ := o.contestants(); !slices.Equal(contestants, []string{viaSidecar, viaSidecar + oneCPU}) {
		t.Fatalf("contestants: %q", contestants)
	}
	r := &Result{Records: 1000}
	for name, own := range map[string]time.Duration{viaSidecar: 100, viaSidecar + oneCPU: 80} {
		r.add(name, Race{Wall: 100 + own, App: Usage{CPU: 100}, Sidecar: &Usage{CPU: own}, Inputs: 1000})
	}
	all := goals(r)
	for what, want := range map[string]float64{"sidecar's CPU": 0.8, "CPU": 0.9, "speed": 200.0 / 180} {
		i := slices.IndexFunc(all, func(g Goal) bool { return g.What == "sidecar-one-cpu / sidecar, "+what })
		if i < 0 || math.Abs(all[i].Value.Median-want) > 1e-9 {
			t.Errorf("%s: want %v in %+v", what, want, all)
		}
	}
}
