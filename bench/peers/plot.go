package main

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

const (
	barHeight, barGap = 16, 6
	panelWidth        = 210
	labelWidth        = 290
	barRoom           = 70 // for the figure behind the longest bar
)

// panel is a column of bars.
type panel struct {
	title string
	log   bool
	show  func(float64) string
	of    func(name string) (float64, bool)
}

func speedPanel(r *result, title string, value func(speedRun) float64) panel {
	return panel{title, true, figure, func(name string) (float64, bool) {
		s, ok := r.speedNamed(name)
		return s.of(value).Median, ok
	}}
}

func killsPanel(r *result, title string, log bool, show func(float64) string, value func(killsOf) float64) panel {
	return panel{title, log, show, func(name string) (float64, bool) {
		k, ok := killsNamed(r.Kills, name)
		return value(k), ok
	}}
}

// plot draws four panels, a line for each contestant.
func plot(r *result) string {
	panels := []panel{
		speedPanel(r, "seconds a million (log)", seconds),
		speedPanel(r, "CPU seconds a million (log)", cpu),
		killsPanel(r, fmt.Sprintf("repeats, %d × kill -9 (log)", r.KillCount), true, count, func(k killsOf) float64 { return float64(k.Repeated) }),
		killsPanel(r, "longest stall, seconds", false, figure, func(k killsOf) float64 { return k.Stall.Seconds() }),
	}
	var names []string
	for _, c := range contestants {
		if _, ok := r.Titles[c.Name]; ok {
			names = append(names, c.Name)
		}
	}
	height := 70 + len(names)*(barHeight+barGap)
	width := labelWidth + len(panels)*panelWidth
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n", width, height)
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height)
	for j, name := range names {
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labelWidth-8, top(j)+12, html.EscapeString(r.Titles[name]))
	}
	for i, p := range panels {
		p.draw(&b, labelWidth+i*panelWidth, names)
	}
	fmt.Fprintf(&b, "<text x=\"8\" y=\"%d\" fill=\"#555\">%s</text>\n</svg>\n", height-12, html.EscapeString(conditions(r)))
	return b.String()
}

func count(v float64) string { return figures.Thousands(int(v)) }

func top(line int) int { return 32 + line*(barHeight+barGap) }

func (p panel) draw(b *strings.Builder, left int, names []string) {
	fmt.Fprintf(b, "<text x=\"%d\" y=\"20\" font-weight=\"bold\">%s</text>\n", left, html.EscapeString(p.title))
	least, most := math.Inf(1), 0.0
	for _, name := range names {
		if v, ok := p.of(name); ok && v > 0 {
			least, most = min(least, v), max(most, v)
		}
	}
	for j, name := range names {
		v, ok := p.of(name)
		if !ok || math.IsNaN(v) {
			fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" fill=\"#777\">–</text>\n", left, top(j)+12)
			continue
		}
		long := length(v, least, most, p.log) * (panelWidth - barRoom)
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", left, top(j), long, barHeight, color(name))
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", float64(left)+long+5, top(j)+12, p.show(v))
	}
}

// length is a bar's share of the longest. A logarithmic one begins at half of the least value.
func length(v, least, most float64, log bool) float64 {
	switch {
	case v <= 0 || most <= 0:
		return 0
	case !log:
		return v / most
	}
	from := math.Log(least / 2)
	return (math.Log(v) - from) / (math.Log(most) - from)
}

func color(name string) string {
	if isOwn(name) {
		return "#2f6fb0"
	}
	return "#9aa5b1"
}

// conditions are what the figures depend on, in a line.
func conditions(r *result) string {
	return fmt.Sprintf("%s, %d CPUs, load %s; Kafka %s, %d broker(s) on the same CPUs; values of %d bytes, %d partitions, %d rounds; %s",
		r.Machine, r.CPUs, r.LoadBefore, r.Kafka, r.Brokers, r.Size, r.Partitions, r.Rounds, r.Date)
}
