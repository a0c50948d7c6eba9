package bench

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

func renderPods(out *strings.Builder, pods []*Pod) {
	for _, paced := range []bool{false, true} {
		rows := [][]string{{"processes", "", "runs", "records/s", "CPU ns/record", "of it sidecar", "brokers' CPU", "beyond idle", "produce req", "conns", "p50 ms", "p90", "p99"}}
		for _, p := range pods {
			if p.Paced == paced {
				for _, w := range p.Modes {
					rows = append(rows, w.row(p))
				}
			}
		}
		switch {
		case len(rows) == 1:
			continue
		case paced:
			fmt.Fprintf(out, "\nPaced: each process emits %d records a second for %v. From due to acknowledged.\n", pacedRate, pacedFor)
		default:
			fmt.Fprintf(out, "\nMany processes produce as fast as they may, each by a producer of its own or all through one sidecar. Medians.\n")
		}
		table(out, rows)
	}
}

func (w *PodMode) row(p *Pod) []string {
	at := func(format string, of func(*PodRun) float64) string {
		return fmt.Sprintf(format, median(w.series(of)))
	}
	sidecar, brokers, beyond := "–", "–", "–"
	if len(w.Runs) > 0 && w.Runs[0].Sidecar != nil {
		sidecar = at("%.0f", func(r *PodRun) float64 { return float64(r.Sidecar.CPU) / float64(r.Records) })
	}
	if cpu := w.brokersCPU(); len(cpu) > 0 {
		brokers = fmt.Sprintf("%.0f", median(cpu))
	}
	if cpu := w.beyondIdle(p.BrokersIdle); len(cpu) > 0 {
		beyond = fmt.Sprintf("%.0f", median(cpu))
	}
	row := []string{
		strconv.Itoa(p.Processes), w.Name, strconv.Itoa(len(w.Runs)),
		figures.Thousands(int(median(w.series(func(r *PodRun) float64 { return float64(r.Records) / r.Wall.Seconds() })))),
		at("%.0f", func(r *PodRun) float64 { return float64(r.cpu()) / float64(r.Records) }), sidecar, brokers, beyond,
		at("%.0f", func(r *PodRun) float64 { return float64(r.produceRequests()) }),
		at("%.0f", func(r *PodRun) float64 { return float64(r.connections()) }),
	}
	if !p.Paced {
		return append(row, "–", "–", "–")
	}
	return append(row, at("%.1f", func(r *PodRun) float64 { return r.P50 }), at("%.1f", func(r *PodRun) float64 { return r.P90 }), at("%.1f", func(r *PodRun) float64 { return r.P99 }))
}

// podGoals are G3 and, of fifty processes, G4.
func podGoals(pods []*Pod, add func(Goal, []float64)) {
	for _, p := range pods {
		own, one := p.Modes[0], p.Modes[1]
		what := fmt.Sprintf("%d processes, sidecar / own producers, ", p.Processes)
		switch {
		case !p.Paced && p.Processes < 50:
			add(Goal{Name: "G3", What: what + "speed", Must: 0.65, Stretch: 0.8, AtLeast: true}, pairs(own.walls(), one.walls()))
		case !p.Paced:
			add(Goal{Name: "G3", What: what + "speed", Must: 0.75, Stretch: 0.9, AtLeast: true}, pairs(own.walls(), one.walls()))
		case p.Processes >= 50:
			requests := func(r *PodRun) float64 { return float64(r.produceRequests()) }
			p99 := func(r *PodRun) float64 { return r.P99 }
			add(Goal{Name: "G4", What: what + "produce requests", Must: 0.1, Stretch: 0.04}, pairs(one.series(requests), own.series(requests)))
			add(Goal{Name: "G4", What: what + "brokers' CPU a record", Must: 0.33, Stretch: 0.125}, pairs(one.brokersCPU(), own.brokersCPU()))
			add(Goal{Name: "G4", What: what + "brokers' CPU a record beyond idle", Must: 0.33, Stretch: 0.125}, pairs(one.beyondIdle(p.BrokersIdle), own.beyondIdle(p.BrokersIdle)))
			add(Goal{Name: "G4", What: what + "p99", Must: 1, Stretch: 0.5}, pairs(one.series(p99), own.series(p99)))
		}
	}
}
