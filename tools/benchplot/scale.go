package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// scale is what is read of the part scale.
type scale struct {
	Sessions []struct {
		Processes int       `json:"processes"`
		Speed     interval  `json:"speed"`
		CPU       interval  `json:"cpu"`
		IdleRSS   *interval `json:"idle_rss_bytes"`
		Busy      *interval `json:"busy_bytes"`
		Peak      *interval `json:"peak_rss_bytes"`
	} `json:"sessions"`
	Partitions []struct {
		Partitions int `json:"partitions"`
		Ratios     []struct {
			Name  string   `json:"name"`
			Speed interval `json:"speed"`
			CPU   interval `json:"cpu"`
		} `json:"ratios"`
	} `json:"partitions"`
}

// interval is a median and the ends of what it may be.
type interval struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Pairs  int     `json:"pairs"`
}

// line is a series by the number of sessions or partitions.
type line struct {
	name, color string
	at          []int
	values      []interval
}

func (l *line) add(at int, v interval, unit float64) {
	l.at, l.values = append(l.at, at), append(l.values, interval{v.Median / unit, v.Low / unit, v.High / unit, v.Pairs})
}

// chart is a panel of lines over one axis, which is logarithmic.
type chart struct {
	title string
	mark  float64 // a value that is compared with, 0: none
	lines []*line
}

const (
	chartWidth, chartHeight = 300, 190
	chartLeft, chartTop     = 46, 34 // of the plane within the chart
	chartRight, chartBottom = 14, 34
)

const blue, orange = "#2f6fb0", "#c2661c"

// drawScale draws a row of charts for each series that was measured.
func drawScale(r *result, note string) string {
	var rows [][]*chart
	if len(r.Scale.Sessions) > 0 {
		rows = append(rows, r.Scale.sessions())
	}
	if len(r.Scale.Partitions) > 0 {
		rows = append(rows, r.Scale.partitions())
	}
	most, pairs := 0, 0
	for _, row := range rows {
		most, pairs = max(most, len(row)), max(pairs, row[0].lines[0].values[0].Pairs)
	}
	width, height := most*chartWidth, len(rows)*chartHeight+48
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n", width, height)
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height)
	for i, row := range rows {
		for j, c := range row {
			c.draw(&b, j*chartWidth, i*chartHeight)
		}
	}
	footer(&b, r, height, pairs, note)
	return b.String()
}

func (s *scale) sessions() []*chart {
	speed, cpu := &line{name: "one sidecar", color: blue}, &line{name: "one sidecar", color: blue}
	idle, peak := &line{name: "idle", color: blue}, &line{name: "peak", color: blue}
	for _, p := range s.Sessions {
		speed.add(p.Processes, p.Speed, 1)
		cpu.add(p.Processes, p.CPU, 1)
		if p.Peak != nil {
			peak.add(p.Processes, *p.Peak, 1<<20)
		}
		if p.IdleRSS != nil {
			idle.add(p.Processes, *p.IdleRSS, 1e3)
		}
	}
	all := []*chart{
		{"speed / own producers, by sessions", 1, []*line{speed}}, {"CPU / own producers, by sessions", 1, []*line{cpu}},
	}
	for _, c := range []*chart{{"sidecar's peak, MiB (goal: 150)", 150, []*line{peak}}, {"an idle session, KB (goal: 40)", 40, []*line{idle}}} {
		if len(c.lines[0].at) > 0 {
			all = append(all, c)
		}
	}
	return all
}

func (s *scale) partitions() []*chart {
	speed, cpu := &chart{"speed / bare loop, by partitions", 1, nil}, &chart{"CPU / bare loop, by partitions", 1, nil}
	colors := map[string]string{"library": orange, "sidecar": blue}
	for _, p := range s.Partitions {
		for _, ratio := range p.Ratios {
			speed.named(ratio.Name, colors[ratio.Name]).add(p.Partitions, ratio.Speed, 1)
			cpu.named(ratio.Name, colors[ratio.Name]).add(p.Partitions, ratio.CPU, 1)
		}
	}
	return []*chart{speed, cpu}
}

// named is the chart's line of this name.
func (c *chart) named(name, color string) *line {
	for _, l := range c.lines {
		if l.name == name {
			return l
		}
	}
	l := &line{name: name, color: color}
	c.lines = append(c.lines, l)
	return l
}

func (c *chart) draw(b *strings.Builder, left, top int) {
	least, most, highest := math.Inf(1), 0.0, c.mark
	for _, l := range c.lines {
		for i, at := range l.at {
			least, most, highest = min(least, float64(at)), max(most, float64(at)), max(highest, l.values[i].High, l.values[i].Median)
		}
	}
	x := func(at int) float64 {
		share := 0.5 // of a single point
		if most > least {
			share = math.Log(float64(at)/least) / math.Log(most/least)
		}
		return float64(left+chartLeft) + share*(chartWidth-chartLeft-chartRight)
	}
	step := tick(highest)
	highest = max(math.Ceil(highest/step), 1) * step
	y := func(v float64) float64 {
		return float64(top+chartHeight-chartBottom) - v/highest*(chartHeight-chartTop-chartBottom)
	}
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text>\n", left+10, top+18, html.EscapeString(c.title))
	for v := 0.0; v <= highest+step/2; v += step {
		fmt.Fprintf(b, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\" fill=\"#555\">%.3g</text>\n",
			left+chartLeft, y(v), left+chartWidth-chartRight, left+chartLeft-6, y(v)+4, v)
	}
	if c.mark > 0 {
		fmt.Fprintf(b, "<path d=\"M%d %.1fH%d\" stroke=\"#777\" stroke-dasharray=\"4 3\"/>\n", left+chartLeft, y(c.mark), left+chartWidth-chartRight)
	}
	for _, at := range c.lines[0].at {
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#555\">%s</text>\n", x(at), top+chartHeight-chartBottom+16, figure(float64(at)))
	}
	for i, l := range c.lines {
		l.draw(b, x, y)
		if len(c.lines) > 1 {
			fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" fill=\"%s\" text-anchor=\"end\">%s</text>\n", left+chartWidth-chartRight, top+chartTop-2+14*i, l.color, html.EscapeString(l.name))
		}
	}
}

// draw makes the line, a dot for each median and a stroke for each interval. What is less than
// nothing, as a difference of memory may be, lies on the axis.
func (l *line) draw(b *strings.Builder, x func(int) float64, at func(float64) float64) {
	y := func(v float64) float64 { return at(max(v, 0)) }
	var points []string
	for i, v := range l.values {
		points = append(points, fmt.Sprintf("%.1f,%.1f", x(l.at[i]), y(v.Median)))
		fmt.Fprintf(b, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\" stroke-opacity=\"0.5\" stroke-width=\"4\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"><title>%d: %.3g (%.3g … %.3g)</title></circle>\n",
			x(l.at[i]), y(v.Low), y(v.High), l.color, x(l.at[i]), y(v.Median), l.color, l.at[i], v.Median, v.Low, v.High)
	}
	fmt.Fprintf(b, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\"/>\n", strings.Join(points, " "), l.color)
}

// tick is the distance of round values, of which three to seven reach the highest.
func tick(highest float64) float64 {
	if highest <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, n := range []float64{0.2, 0.5, 1, 2} {
		if highest/(unit*n) <= 6 {
			return unit * n
		}
	}
	return unit * 2
}

// footer says what the figures depend on.
func footer(b *strings.Builder, r *result, height, pairs int, note string) {
	fmt.Fprintf(b, "<text x=\"8\" y=\"%d\" fill=\"#555\">%s records of %d bytes a run, %d pairs each, %d CPUs, %s; medians, with 95 %% intervals as strokes</text>\n<text x=\"8\" y=\"%d\" fill=\"#555\">%s</text>\n</svg>\n",
		height-26, figure(float64(r.Records)), r.Size, pairs, r.CPUs, html.EscapeString(r.Broker), height-10, html.EscapeString(note))
}
