package bench

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

// render is what a reader sees at the end: what was measured, each contestant, the goals.
func render(r *Result) string {
	var out strings.Builder
	fmt.Fprintf(&out, "\nackmark bench: %s inputs of %d bytes, %d partitions, %s; %s, %d CPUs, took %.0f s\n",
		figures.Thousands(r.Records), r.Size, r.Partitions, r.Broker, r.Go, r.CPUs, r.Took.Seconds())
	renderContestants(&out, r)
	renderPods(&out, r.Pods)
	renderScale(&out, r.Scale)
	renderSession(&out, r.Session)
	renderSliced(&out, r.Sliced)
	renderLatency(&out, r.Latency)
	renderMemory(&out, r.Memory)
	renderGoals(&out, r)
	return out.String()
}

// table aligns rows of cells.
func table(out *strings.Builder, rows [][]string) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	w.Flush()
}

func renderContestants(out *strings.Builder, r *Result) {
	if len(r.Contestants) == 0 {
		return
	}
	fmt.Fprintf(out, "\nSaturated: consume, upper-case, produce, commit. Medians; the clock runs from the group's assignment to the last commit.\n")
	rows := [][]string{{"", "runs", "inputs/s", "CPU ns/record", "of it sidecar", "allocs/record", "bytes/record", "peak MiB", "produce req", "conns", "outputs", "committed"}}
	for _, c := range r.Contestants {
		rows = append(rows, contestantRow(r, c))
	}
	table(out, rows)
	fmt.Fprintln(out, "  allocs/record leave out the handler's own; \"a + b\" is app + sidecar. consume-* are controls without outputs.")
}

func contestantRow(r *Result, c *Contestant) []string {
	records := float64(r.Records)
	of := func(f func(*Race) float64) float64 { return median(c.series(f)) }
	app := func(f func(Usage) float64) string { return c.both(f) }
	sidecarCPU := "–"
	if c.Runs[0].Sidecar != nil {
		sidecarCPU = fmt.Sprintf("%.0f", of(func(run *Race) float64 { return float64(run.Sidecar.CPU) })/records)
	}
	allocs := fmt.Sprintf("%.2f", median(c.allocs()))
	if s := c.sidecarAllocs(); len(s) > 0 {
		allocs += fmt.Sprintf(" + %.2f", median(s))
	}
	return []string{
		c.Name, strconv.Itoa(len(c.Runs)),
		figures.Thousands(int(records / median(c.walls()))),
		fmt.Sprintf("%.0f", median(c.cpus())*1e9/records), sidecarCPU, allocs,
		app(func(u Usage) float64 { return float64(u.AllocBytes) / records }),
		app(func(u Usage) float64 { return float64(u.PeakRSS) / (1 << 20) }),
		app(func(u Usage) float64 { return float64(u.ProduceRequests) }),
		app(func(u Usage) float64 { return float64(u.Connections) }),
		figures.Thousands(int(of(func(run *Race) float64 { return float64(run.Outputs) }))),
		figures.Thousands(int(of(func(run *Race) float64 { return float64(run.Committed) }))),
	}
}

// both is a median of the app and, where there is one, of the sidecar.
func (c *Contestant) both(f func(Usage) float64) string {
	s := fmt.Sprintf("%.0f", median(c.series(func(run *Race) float64 { return f(run.App) })))
	if c.Runs[0].Sidecar != nil {
		s += fmt.Sprintf(" + %.0f", median(c.series(func(run *Race) float64 { return f(*run.Sidecar) })))
	}
	return s
}

func renderLatency(out *strings.Builder, l *Latency) {
	if l == nil {
		return
	}
	fmt.Fprintf(out, "\nPaced: an open loop of %s/s, no linger, from due to read back, in milliseconds.\n", figures.Thousands(l.RatePerSecond))
	rows := [][]string{{"", "p50", "p90", "p99", "sent", "read back"}}
	for _, p := range l.Paths {
		rows = append(rows, []string{
			p.Name, fmt.Sprintf("%.2f", p.P50), fmt.Sprintf("%.2f", p.P90), fmt.Sprintf("%.2f", p.P99), figures.Thousands(p.Sent), figures.Thousands(p.Seen),
		})
	}
	table(out, rows)
	fmt.Fprintln(out, "  straight is a control: generator to reader with no app between.")
}

func renderMemory(out *strings.Builder, m *Memory) {
	if m == nil {
		return
	}
	mib := func(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
	fmt.Fprintf(out, "\nMemory: every handler stalls while %s inputs wait.\n", figures.Thousands(int(m.Backlog)))
	table(out, [][]string{
		{"memory limit", mib(m.Limit), "GOMEMLIMIT of the process"},
		{"budget", mib(m.Budget), "the consumer's default share of it"},
		{"held", mib(m.HeldBytes), figures.Thousands(int(m.HeldRecords)) + " inputs fetched and not done, as the budget counts"},
		{"peak resident", mib(m.PeakRSS), "heap in use at most " + mib(m.PeakHeap)},
		{"after the stall", figures.Thousands(int(m.After)), "inputs done within a second"},
	})
}

func renderGoals(out *strings.Builder, r *Result) {
	fmt.Fprintf(out, "\nGoals (same run, medians of pairs with a %d %% interval)\n", int(confidence*100))
	rows := [][]string{{"goal", "", "median", "interval", "must", "stretch", ""}}
	for _, g := range r.Goals {
		bounds := "–"
		if g.Value.Pairs > 1 {
			bounds = fmt.Sprintf("%.3f … %.3f (%d)", g.Value.Low, g.Value.High, g.Value.Pairs)
		}
		rows = append(rows, []string{
			g.Name, g.What, fmt.Sprintf("%.3f%s", g.Value.Median, g.Unit), bounds, g.bound(g.Must), g.bound(g.Stretch), marks[g.Verdict] + " " + string(g.Verdict),
		})
	}
	table(out, rows)
	if len(r.Wrong) == 0 {
		fmt.Fprintln(out, "\nCounts: every input came out once and is committed, in every run.")
		return
	}
	fmt.Fprintln(out, "\nCOUNTS ARE WRONG:")
	for _, what := range r.Wrong {
		fmt.Fprintln(out, "  "+what)
	}
}

var marks = map[Verdict]string{Stretch: "✓✓", Must: "✓", Unclear: "?", Missed: "✗"}
