package main

import (
	"errors"
	"fmt"
	"html"
	"slices"
	"strings"
	"time"
)

const (
	plain = "sidecar"
	once  = "sidecar-exactly-once-"
)

// point is a commit interval, or at-least-once (0).
type point struct {
	every                  time.Duration
	latency, speed, broker float64 // ms, records per second, ns per record; 0: not measured
	runs                   int
}

// points are those of a result, by interval: at-least-once first.
func points(r *result) (all []point, err error) {
	for _, c := range r.Contestants {
		var p point
		if c.Name != plain {
			interval, is := strings.CutPrefix(c.Name, once)
			if !is {
				continue
			}
			if p.every, err = time.ParseDuration(interval); err != nil {
				return nil, err
			}
		}
		var walls, cpus []float64
		for _, run := range c.Runs {
			walls, cpus = append(walls, run.Wall.Seconds()), append(cpus, float64(run.BrokerCPU)/float64(r.Records))
		}
		p.speed, p.broker, p.runs = float64(r.Records)/median(walls), median(cpus), len(c.Runs)
		for _, path := range r.Latency.Paths {
			if path.Name == c.Name {
				p.latency = path.P50
			}
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b point) int { return int(a.every - b.every) })
	if len(all) < 2 {
		return nil, errors.New("nothing to draw in it: ackmark bench --only scale --json, or --only exactly-once,latency --json")
	}
	return all, nil
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	if len(list) == 0 {
		return 0
	}
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

const (
	barHeight, barGap = 18, 6
	panelWidth        = 230
	labels            = 110
)

// draw makes three panels of bars, a line for each interval.
func draw(r *result, all []point, note string) string {
	height := 80 + len(all)*(barHeight+barGap)
	panels := []struct {
		title, unit string
		of          func(point) float64
	}{
		{"median latency to a reader", "ms", func(p point) float64 { return p.latency }},
		{"speed", "records/s", func(p point) float64 { return p.speed }},
		{"broker's CPU", "ns/record", func(p point) float64 { return p.broker }},
	}
	var b strings.Builder
	width := labels + len(panels)*panelWidth
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n", width, height)
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height)
	for i, panel := range panels {
		left, most := labels+i*panelWidth, 0.0
		for _, p := range all {
			most = max(most, panel.of(p))
		}
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"20\" font-weight=\"bold\">%s, %s</text>\n", left, html.EscapeString(panel.title), panel.unit)
		for j, p := range all {
			top, value := 32+j*(barHeight+barGap), panel.of(p)
			if i == 0 {
				fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labels-8, top+13, name(p))
			}
			if value == 0 {
				fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" fill=\"#777\">not measured</text>\n", left, top+13)
				continue
			}
			long := value / most * (panelWidth - 80)
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", left, top, long, barHeight, color(p))
			fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", float64(left)+long+5, top+13, figure(value))
		}
	}
	fmt.Fprintf(&b, "<text x=\"8\" y=\"%d\" fill=\"#555\">%d inputs of %d bytes, %d runs each, %d CPUs, %s</text>\n<text x=\"8\" y=\"%d\" fill=\"#555\">%s</text>\n</svg>\n",
		height-26, r.Records, r.Size, all[0].runs, r.CPUs, html.EscapeString(r.Broker), height-10, html.EscapeString(note))
	return b.String()
}

// figure shows three digits, and thousands with a comma.
func figure(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.3g", v)
	}
	n := int(v + 0.5)
	text := ""
	for ; n >= 1000; n /= 1000 {
		text = fmt.Sprintf(",%03d", n%1000) + text
	}
	return fmt.Sprint(n) + text
}

func name(p point) string {
	if p.every == 0 {
		return "at-least-once"
	}
	return "every " + p.every.String()
}

func color(p point) string {
	if p.every == 0 {
		return "#9aa5b1"
	}
	return "#2f6fb0"
}
