package bench

import "fmt"

// Verdict of a goal.
type Verdict string

// Verdicts. A goal is missed only if the whole interval lies beyond the bound: two cores shared
// with a broker vary by some per cent.
const (
	Stretch Verdict = "stretch reached"
	Must    Verdict = "must reached"
	Unclear Verdict = "unclear" // the median misses, the interval holds the bound
	Missed  Verdict = "missed"
)

// Goal is a line of the last table.
type Goal struct {
	Name    string   `json:"name"`
	What    string   `json:"what"`
	Value   Interval `json:"value"`
	Unit    string   `json:"unit,omitempty"`
	Must    float64  `json:"must"`
	Stretch float64  `json:"stretch"`
	// AtLeast: higher is better. Otherwise lower is.
	AtLeast bool    `json:"at_least"`
	Verdict Verdict `json:"verdict"`
}

func (g Goal) judged() Goal {
	best, value := g.Value.Low, g.Value
	if g.AtLeast {
		best = value.High
	}
	meets := func(v, bound float64) bool {
		if g.AtLeast {
			return v >= bound
		}
		return v <= bound
	}
	switch {
	case meets(value.Median, g.Stretch):
		g.Verdict = Stretch
	case meets(value.Median, g.Must):
		g.Verdict = Must
	case meets(best, g.Must):
		g.Verdict = Unclear
	default:
		g.Verdict = Missed
	}
	return g
}

// bound renders must or stretch.
func (g Goal) bound(v float64) string {
	sign := "≤"
	if g.AtLeast {
		sign = "≥"
	}
	return fmt.Sprintf("%s %.4g%s", sign, v, g.Unit)
}

// goals of docs/benchmarks.md that one process on two cores can show.
func goals(r *Result) []Goal {
	var all []Goal
	add := func(g Goal, samples []float64) {
		if len(samples) > 0 {
			g.Value = interval(samples)
			all = append(all, g.judged())
		}
	}
	of := func(name string) *Contestant { return r.contestant(name) }
	add(Goal{Name: "G1", What: "library / bare, speed", Must: 0.90, Stretch: 1.1, AtLeast: true}, pairs(of(bare).walls(), of(library).walls()))
	add(Goal{Name: "G1", What: "library / bare, client CPU", Must: 1.10, Stretch: 0.85}, pairs(of(library).cpus(), of(bare).cpus()))
	add(Goal{Name: "G2", What: "sidecar / bare, speed", Must: 0.80, Stretch: 0.95, AtLeast: true}, pairs(of(bare).walls(), of(viaSidecar).walls()))
	add(Goal{Name: "G2", What: "sidecar / bare, app + sidecar CPU", Must: 1.40, Stretch: 1.20}, pairs(of(viaSidecar).cpus(), of(bare).cpus()))
	podGoals(r.Pods, add)
	scaleGoals(r.Scale, add)
	sessionGoals(r.Session, add)
	if r.Latency != nil {
		add(Goal{Name: "G6", What: "added median latency, sidecar − bare", Unit: " ms", Must: 0.25, Stretch: 0.15}, r.Latency.Added)
	}
	add(Goal{Name: "G7", What: "allocations per record, library", Must: 0.3, Stretch: 0.1}, of(library).allocs())
	add(Goal{Name: "G7", What: "allocations per record, app by sidecar", Must: 0.3, Stretch: 0.1}, of(viaSidecar).allocs())
	add(Goal{Name: "G7", What: "allocations per record, sidecar process", Must: 0.3, Stretch: 0.1}, of(viaSidecar).sidecarAllocs())
	for _, name := range []string{library, viaSidecar} { // with --against; 5 % is what these runs can tell apart
		earlier := of(name + before)
		add(Goal{Name: "now", What: name + " / " + name + before + ", speed", Must: 0.95, Stretch: 1, AtLeast: true}, pairs(earlier.walls(), of(name).walls()))
		add(Goal{Name: "now", What: name + " / " + name + before + ", CPU", Must: 1.05, Stretch: 1}, pairs(of(name).cpus(), earlier.cpus()))
	}
	for _, name := range []string{library, viaSidecar} { // of the part metrics
		plain, nobody, read := of(name), of(name+idle), of(name+scraped)
		add(Goal{Name: "cost", What: name + ", metrics that nobody reads, CPU a record", Unit: " ns", Must: 5, Stretch: 2}, differences(nobody.each(), plain.each()))
		add(Goal{Name: "cost", What: name + " scraped each second / " + name + ", speed", Must: 0.98, Stretch: 1, AtLeast: true}, pairs(plain.walls(), read.walls()))
		add(Goal{Name: "cost", What: name + " scraped each second / " + name + ", CPU", Must: 1.02, Stretch: 1}, pairs(read.cpus(), plain.cpus()))
	}
	all = append(all, slicedGoals(r.Sliced)...)
	for _, one := range r.Unread {
		what := fmt.Sprintf("metrics that nobody reads, the step alone, calls of %d, time a record", one.Records)
		add(Goal{Name: "cost", What: what, Unit: " ns", Must: 5, Stretch: 2}, one.More)
	}
	for _, name := range []string{library, viaSidecar} { // of the part state
		plain, with := of(name), of(name+kept)
		add(Goal{Name: "cost", What: name + kept + " / " + name + ", speed", Must: 0.98, Stretch: 1, AtLeast: true}, pairs(plain.walls(), with.walls()))
		add(Goal{Name: "cost", What: name + kept + " / " + name + ", CPU", Must: 1.02, Stretch: 1}, pairs(with.cpus(), plain.cpus()))
		add(Goal{Name: "cost", What: name + kept + ", more allocations per record", Must: 0.01, Stretch: 0.001}, differences(with.allAllocs(), plain.allAllocs()))
	}
	exactlyGoals(r, add)
	plain, one := of(viaSidecar), of(viaSidecar+oneCPU)
	add(Goal{Name: "cost", What: one.Name + " / " + plain.Name + ", sidecar's CPU", Must: 1, Stretch: 0.94}, pairs(one.sidecarCPUs(), plain.sidecarCPUs()))
	add(Goal{Name: "cost", What: one.Name + " / " + plain.Name + ", CPU", Must: 1, Stretch: 0.97}, pairs(one.cpus(), plain.cpus()))
	add(Goal{Name: "cost", What: one.Name + " / " + plain.Name + ", speed", Must: 0.95, Stretch: 1, AtLeast: true}, pairs(plain.walls(), one.walls()))
	if r.Memory != nil {
		g := Goal{Name: "S9", What: "peak memory while a handler stalls / limit", Must: 1, Stretch: 0.75}
		peak := float64(r.Memory.PeakRSS) / float64(r.Memory.Limit)
		add(g, []float64{peak})
	}
	return all
}
