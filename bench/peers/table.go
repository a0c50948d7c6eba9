package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ackmark/ackmark/bench/peers/internal/tally"
	"github.com/ackmark/ackmark/internal/proof/figures"
)

// reference is whom ratios are to.
const reference = "ackmark-sidecar"

// grid is a table: its first row has the headings.
type grid [][]string

func (g grid) text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range g {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	return b.String()
}

func (g grid) markdown() string {
	var b strings.Builder
	for i, row := range g {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	return b.String()
}

// speedGrid is what a million records cost.
func speedGrid(r *result) grid {
	g := grid{{"a million records", "seconds", "interval", "CPU s", "interval", "broker's CPU s", "seconds against Ackmark's sidecar"}}
	base, hasBase := r.speedNamed(reference)
	for _, s := range r.Speed {
		if len(s.Runs) == 0 {
			g = append(g, []string{r.Titles[s.Name], "failed", "", "", "", "", ""})
			continue
		}
		sec, cpus, broker := s.of(seconds), s.of(cpu), s.of(brokerCPU)
		ratio := ""
		if hasBase {
			ratio = "× " + figure(s.against(base, seconds).Median)
		}
		g = append(g, []string{r.Titles[s.Name], figure(sec.Median), spread(sec), figure(cpus.Median), spread(cpus), figure(broker.Median), ratio})
	}
	return g
}

// killsGrid is what the kills cost.
func killsGrid(r *result) grid {
	heading := []string{fmt.Sprintf("%d × kill -9", r.KillCount), "lost", "repeated", "longest stall"}
	if len(r.Static) > 0 {
		heading = append(heading, "as a static member: repeated", "longest stall")
	}
	g := grid{heading}
	for _, k := range r.Kills {
		row := []string{r.Titles[k.Name], figures.Thousands(k.Lost), figures.Thousands(k.Repeated), stall(k.Stall)}
		if k.Kills == 0 {
			row = []string{r.Titles[k.Name], "–", "–", "–"}
		}
		if len(r.Static) > 0 {
			static := []string{"–", "–"}
			if s, ok := killsNamed(r.Static, k.Name); ok {
				static = []string{figures.Thousands(s.Repeated), stall(s.Stall)}
				if s.Lost > 0 {
					static[0] += fmt.Sprintf(" (%s lost)", figures.Thousands(s.Lost))
				}
			}
			row = append(row, static...)
		}
		if k.Note != "" {
			row[0] += " (" + k.Note + ")"
		}
		g = append(g, row)
	}
	return g
}

// shortGrid is both tables in one, for README.
func shortGrid(r *result) grid {
	g := grid{{"", "seconds a million", "CPU s a million", fmt.Sprintf("%d × kill -9: lost", r.KillCount), "repeated", "longest stall"}}
	for _, c := range contestants {
		title, ok := r.Titles[c.Name]
		if !ok {
			continue
		}
		row := []string{title, "–", "–", "–", "–", "–"}
		if s, ok := r.speedNamed(c.Name); ok {
			row[1], row[2] = figure(s.of(seconds).Median), figure(s.of(cpu).Median)
		}
		if k, ok := killsNamed(r.Kills, c.Name); ok {
			row[3], row[4], row[5] = figures.Thousands(k.Lost), figures.Thousands(k.Repeated), stall(k.Stall)
		}
		g = append(g, row)
	}
	return g
}

func stall(d time.Duration) string { return figure(d.Seconds()) + " s" }

// figure shows three digits.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v >= 1000:
		return figures.Thousands(int(math.Round(v)))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func spread(i tally.Interval) string {
	if i.Rounds < 2 {
		return ""
	}
	return figure(i.Low) + " … " + figure(i.High)
}

// remarks are what the tables do not show: wrong counts without any kill, and who was not there.
func remarks(r *result) (all []string) {
	for _, s := range r.Speed {
		for _, run := range s.Runs {
			if run.Done && run.Repeated+run.Uncommitted+run.Strange > 0 {
				all = append(all, fmt.Sprintf("%s, round %d, without a kill: %d repeated, %d not committed after SIGTERM, %d of no input", r.Titles[s.Name], run.Round, run.Repeated, run.Uncommitted, run.Strange))
			}
		}
		for _, f := range s.Failed {
			first, _, _ := strings.Cut(f, "\n")
			all = append(all, r.Titles[s.Name]+": "+first)
		}
	}
	for _, k := range slices.Concat(r.Kills, r.Static) {
		if k.Strange > 0 {
			all = append(all, fmt.Sprintf("%s, with kills: %d outputs of no input", r.Titles[k.Name], k.Strange))
		}
	}
	for name, why := range r.Missing {
		first, _, _ := strings.Cut(why, "\n")
		all = append(all, name+" is not there: "+first)
	}
	return all
}

// table is what is printed.
func table(r *result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, %d CPUs, %s; load %s before, %s after; Kafka %s, %d broker(s); took %s\n", r.Machine, r.CPUs, r.Date, r.LoadBefore, r.LoadAfter, r.Kafka, r.Brokers, r.Took)
	if len(r.Speed) > 0 {
		fmt.Fprintf(&b, "\n%s", speedGrid(r).text())
	}
	if len(r.Kills) > 0 {
		fmt.Fprintf(&b, "\n%s", killsGrid(r).text())
	} else if len(r.Static) > 0 {
		fmt.Fprintf(&b, "\nstatic members:\n%s", killsGrid(&result{Titles: r.Titles, KillCount: r.KillCount, Kills: r.Static}).text())
	}
	fmt.Fprintf(&b, "\n%s, %s", r.Go, r.Java)
	for _, c := range contestants {
		if v, ok := r.Versions[c.Name]; ok {
			fmt.Fprintf(&b, "; %s %s", c.Name, v)
		}
	}
	b.WriteString("\n\n")
	for _, line := range append(wins(r), remarks(r)...) {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	return b.String()
}
