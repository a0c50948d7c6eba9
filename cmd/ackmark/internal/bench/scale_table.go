package bench

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

func renderScale(out *strings.Builder, s *Scale) {
	if s == nil {
		return
	}
	if len(s.Sessions) > 0 {
		fmt.Fprintf(out, "\nScale, sessions: so many processes produce as fast as they may, through one sidecar and each by a producer of its own. Medians.\n")
		rows := [][]string{{
			"sessions", "runs", "own records/s", "sidecar records/s", "speed", "interval", "own CPU ns/record", "apps + sidecar", "of it sidecar", "CPU", "interval",
			"idle KB/session", "by RSS", "busy MiB/session", "peak RSS MiB",
		}}
		for _, p := range s.Sessions {
			rows = append(rows, p.row())
		}
		table(out, rows)
		fmt.Fprintln(out, "  idle: heap and goroutines' stacks of a session that emitted one record and rests, after a collection; and by the resident set, with the stacks of threads. busy: its share of the peak.")
	}
	if len(s.Partitions) == 0 {
		return
	}
	fmt.Fprintf(out, "\nScale, partitions: the job with so many of the input and of the output, against the bare loop. Medians.\n")
	rows := [][]string{{"partitions", "", "runs", "records/s", "speed", "interval", "CPU ns/record", "CPU", "interval", "peak MiB"}}
	for _, p := range s.Partitions {
		for _, c := range p.Contestants {
			rows = append(rows, p.row(c))
		}
	}
	table(out, rows)
}

func (p *SessionsPoint) row() []string {
	own, one := p.Modes[0], p.Modes[1]
	speed := func(w *PodMode) string {
		return figures.Thousands(int(median(w.series(func(r *PodRun) float64 { return float64(r.Records) / r.Wall.Seconds() }))))
	}
	sidecar := func(r *PodRun) float64 { return float64(r.Sidecar.CPU) / float64(r.Records) }
	return []string{
		strconv.Itoa(p.Processes), strconv.Itoa(len(one.Runs)), speed(own), speed(one), fmt.Sprintf("%.2f", p.Speed.Median), p.Speed.bounds(),
		fmt.Sprintf("%.0f", median(own.cpus())), fmt.Sprintf("%.0f", median(one.cpus())), fmt.Sprintf("%.0f", median(one.series(sidecar))),
		fmt.Sprintf("%.2f", p.CPU.Median), p.CPU.bounds(), in(p.Idle, "%.0f", 1e3), in(p.IdleRSS, "%.0f", 1e3), in(p.Busy, "%.2f", 1<<20), in(p.Peak, "%.0f", 1<<20),
	}
}

func (p *PartitionsPoint) row(c *Contestant) []string {
	records := float64(c.Runs[0].Inputs)
	row := []string{figures.Thousands(p.Partitions), c.Name, strconv.Itoa(len(c.Runs)), figures.Thousands(int(records / median(c.walls())))}
	each, peak := fmt.Sprintf("%.0f", median(c.each())), c.both(func(u Usage) float64 { return float64(u.PeakRSS) / (1 << 20) })
	for _, r := range p.Ratios {
		if r.Name == c.Name {
			return append(row, fmt.Sprintf("%.2f", r.Speed.Median), r.Speed.bounds(), each, fmt.Sprintf("%.2f", r.CPU.Median), r.CPU.bounds(), peak)
		}
	}
	return append(row, "1", "–", each, "1", "–", peak)
}

// bounds are the ends of an interval, of more than one pair.
func (iv Interval) bounds() string {
	if iv.Pairs < 2 {
		return "–"
	}
	return fmt.Sprintf("%.2f … %.2f", iv.Low, iv.High)
}

// in shows a median in a unit.
func in(iv *Interval, format string, unit float64) string {
	if iv == nil {
		return "–"
	}
	return fmt.Sprintf(format, iv.Median/unit)
}
