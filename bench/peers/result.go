package main

import (
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/ackmark/ackmark/bench/peers/internal/tally"
)

// result is everything measured.
type result struct {
	Date       string            `json:"date"`
	Took       time.Duration     `json:"took_ns"`
	Machine    string            `json:"machine"`
	CPUs       int               `json:"cpus"`
	LoadBefore string            `json:"load_before"`
	LoadAfter  string            `json:"load_after"`
	Kafka      string            `json:"kafka"`
	Go         string            `json:"go"`
	Java       string            `json:"java"`
	Brokers    int               `json:"brokers"`
	Versions   map[string]string `json:"versions"` // by contestant
	Titles     map[string]string `json:"titles"`
	Missing    map[string]string `json:"missing,omitempty"` // contestants that could not be built, and why

	Inputs     int           `json:"inputs"`
	Size       int           `json:"size"`
	Partitions int           `json:"partitions"`
	Rounds     int           `json:"rounds"`
	KillCount  int           `json:"kill_count"`
	Rate       int           `json:"rate"`
	Every      time.Duration `json:"every_ns"`

	Speed  []speedOf `json:"speed,omitempty"`
	Kills  []killsOf `json:"kills,omitempty"`
	Static []killsOf `json:"static,omitempty"`
}

// speedOf is what the runs of a contestant cost.
type speedOf struct {
	Name string     `json:"name"`
	Runs []speedRun `json:"runs"`
	// Failed are the rounds that have no run, and why.
	Failed []string `json:"failed,omitempty"`
}

// speedRun is one run, by a million records.
type speedRun struct {
	Round     int     `json:"round"`
	Records   int     `json:"records"` // that were measured
	Seconds   float64 `json:"seconds"`
	CPU       float64 `json:"cpu_seconds"` // of its processes
	BrokerCPU float64 `json:"broker_cpu_seconds"`
	Done      bool    `json:"done"` // it came to the end of the inputs
	Repeated  int     `json:"repeated"`
	Strange   int     `json:"strange"` // outputs that are no input's
	// Uncommitted is what the group had not committed after SIGTERM, of a run that was done.
	Uncommitted int `json:"uncommitted"`
}

// killsOf is what kill -9 cost a contestant; one that did not come to work has no Kills.
type killsOf struct {
	Name     string        `json:"name"`
	Kills    int           `json:"kills"`
	Inputs   int           `json:"inputs"`
	Lost     int           `json:"lost"`
	Repeated int           `json:"repeated"`
	Strange  int           `json:"strange"`
	Stall    time.Duration `json:"stall_ns"`
	Note     string        `json:"note,omitempty"`
}

func (s speedOf) of(value func(speedRun) float64) tally.Interval {
	var all []float64
	for _, r := range s.Runs {
		all = append(all, value(r))
	}
	return tally.IntervalOf(all)
}

// against divides a contestant's runs by another's of the same rounds.
func (s speedOf) against(other speedOf, value func(speedRun) float64) tally.Interval {
	var ratios []float64
	for _, a := range s.Runs {
		for _, b := range other.Runs {
			if a.Round == b.Round {
				ratios = append(ratios, tally.Ratios([]float64{value(a)}, []float64{value(b)})...)
			}
		}
	}
	return tally.IntervalOf(ratios)
}

// speedNamed finds a contestant's runs.
func (r *result) speedNamed(name string) (speedOf, bool) {
	for _, s := range r.Speed {
		if s.Name == name && len(s.Runs) > 0 {
			return s, true
		}
	}
	return speedOf{}, false
}

// killsNamed finds what kills cost a contestant.
func killsNamed(all []killsOf, name string) (killsOf, bool) {
	for _, k := range all {
		if k.Name == name && k.Kills > 0 {
			return k, true
		}
	}
	return killsOf{}, false
}

func seconds(r speedRun) float64   { return r.Seconds }
func cpu(r speedRun) float64       { return r.CPU }
func brokerCPU(r speedRun) float64 { return r.BrokerCPU }

// describe begins a result.
func (d *driver) describe(chosen []contestant) *result {
	r := &result{
		Date: time.Now().UTC().Format("2006-01-02 15:04 MST"), Machine: machine(), CPUs: runtime.NumCPU(), LoadBefore: d.loadBefore,
		Kafka: d.kafka.Version(), Go: runtime.Version(), Java: javaVersion(), Brokers: d.brokers, Versions: map[string]string{}, Titles: map[string]string{}, Missing: d.missing,
		Inputs: d.inputs, Size: d.size, Partitions: d.partitions, Rounds: d.rounds, KillCount: d.options.kills, Rate: d.rate, Every: d.every,
	}
	for _, c := range chosen {
		r.Versions[c.Name], r.Titles[c.Name] = d.version(c), c.Title
	}
	return r
}

// machine is the processor's name.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load is the load averages of 1, 5 and 15 minutes.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
