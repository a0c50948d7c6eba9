package bench

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// scaleSample is a result of 50 sessions and of 100 partitions, in three rounds that drift.
func scaleSample() *Result {
	p := &SessionsPoint{Pod: newPod(50)}
	var all Contestants
	for round := range 3 {
		drift := time.Duration(10 + round)
		p.Modes[0].Runs = append(p.Modes[0].Runs, PodRun{Wall: drift * 4, Records: 1000, Apps: Usage{CPU: 1000 * 1000}})
		p.Modes[1].Runs = append(p.Modes[1].Runs, PodRun{
			Wall: drift * 5, Records: 1000, Apps: Usage{CPU: 1000 * 1200}, Sidecar: &Usage{CPU: 1000 * 300, PeakRSS: 130 << 20},
		})
		p.Memory = append(p.Memory, SidecarMemory{Held{Live: 1e6, RSS: 30 << 20, Threads: 7}, Held{Live: 1e6 + 50*35e3 + 5*perThread, RSS: 30<<20 + 50*45e3, Threads: 12}})
		for name, times := range map[string]int{bare: 4, library: 5, viaSidecar: 8} {
			wall := time.Duration(times * (10 + round))
			all.add(name, Race{Round: round, Wall: wall, Inputs: 1000, App: Usage{CPU: wall / 2}})
		}
	}
	p.conclude()
	return &Result{Records: 1000, Size: 100, Broker: "test", Scale: &Scale{
		Sessions: []*SessionsPoint{p}, Partitions: []*PartitionsPoint{partitionsPoint(100, all)},
	}}
}

// Ratios are of pairs, memory is a session's share without what the sidecar needs alone.
func TestScalePoints(t *testing.T) {
	s := scaleSample().Scale
	p := s.Sessions[0]
	for what, c := range map[string]struct{ got, want float64 }{
		"speed": {p.Speed.Median, 0.8}, "speed's low end": {p.Speed.Low, 0.8}, "CPU": {p.CPU.Median, 1.5},
		"idle": {p.Idle.Median, 35e3}, "idle, resident": {p.IdleRSS.Median, 45e3}, "busy": {p.Busy.Median, 2 << 20}, "peak": {p.Peak.Median, 130 << 20},
	} {
		if math.Abs(c.got-c.want) > 1e-6 {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
	for _, r := range s.Partitions[0].Ratios {
		want := map[string]float64{library: 1.25, viaSidecar: 2}[r.Name]
		if math.Abs(r.CPU.Median-want) > 0.1 || math.Abs(r.Speed.Median-1/want) > 1e-6 {
			t.Errorf("%+v, want %v of the loop's CPU", r, want)
		}
	}
	if n := len(s.Partitions[0].Ratios); n != 2 {
		t.Errorf("%d contestants against the loop", n)
	}
}

// Where the system does not tell what is resident, the rest is there, and the JSON is one.
func TestScaleWithoutResidentMemory(t *testing.T) {
	p := &SessionsPoint{Pod: newPod(2), Memory: []SidecarMemory{{Held{Live: 10}, Held{Live: 50}}}}
	p.Modes[0].Runs = []PodRun{{Wall: 1, Records: 1, Apps: Usage{CPU: 1}}}
	p.Modes[1].Runs = []PodRun{{Wall: 1, Records: 1, Apps: Usage{CPU: 1}, Sidecar: &Usage{}}}
	p.conclude()
	if p.Idle == nil || p.Idle.Median != 20 || p.IdleRSS != nil || p.Busy != nil || p.Peak != nil {
		t.Errorf("%+v", p)
	}
	r := &Result{Scale: &Scale{Sessions: []*SessionsPoint{p}}}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if text := render(r); !strings.Contains(text, "–") {
		t.Errorf("what is not known is not a dash:\n%s", text)
	}
}

func TestScaleTable(t *testing.T) {
	r := scaleSample()
	r.Goals = goals(r)
	text := strings.Join(strings.Fields(render(r)), " ")
	for _, want := range []string{
		"50 3 22,727,272,727 18,181,818,181 0.80 0.80 … 0.80 1000 1500 300 1.50 1.50 … 1.50 35 45 2.00 130",
		"100 bare 3 22,727,272,727 1 –", "100 library 3 18,181,818,181 0.80 0.80 … 0.80",
		"G3 50 processes, sidecar / own producers, speed 0.800", "G9 50 sessions, memory of one that is idle 35.000 KB", "≤ 40 KB", "G9 50 sessions, sidecar's peak resident memory 130.000 MiB",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, render(r))
		}
	}
	if strings.Contains(render(sample()), "Scale") {
		t.Error("a table of what did not run")
	}
}

// With one series asked for by its points, the other one is not measured.
func TestScaleSeries(t *testing.T) {
	for _, c := range []struct {
		o                    Options
		sessions, partitions []int
	}{
		{Options{}, nil, nil},
		{Options{Only: []string{partScale}}, DefaultSessions, DefaultPartitionCounts},
		{Options{Only: []string{partScale}, Sessions: []int{3}}, []int{3}, nil},
		{Options{Only: []string{partScale}, PartitionCounts: []int{7}}, nil, []int{7}},
	} {
		if o := c.o.withDefaults(); !slices.Equal(o.Sessions, c.sessions) || !slices.Equal(o.PartitionCounts, c.partitions) {
			t.Errorf("%+v: %v, %v", c.o, o.Sessions, o.PartitionCounts)
		}
	}
	if slices.Contains(DefaultParts, partScale) {
		t.Error("ten minutes more by default")
	}
}

func TestScaleOptionsAreRefused(t *testing.T) {
	scale := []string{partScale}
	for want, o := range map[string]Options{
		"--sessions has 65: 1 to 64, what a sidecar takes by default":                                       {Only: scale, Sessions: []int{1, 65}},
		"--sessions has 0: 1 to 64, what a sidecar takes by default":                                        {Only: scale, Sessions: []int{0}},
		"--partition-counts has 2001: 1 to 2000, --records":                                                 {Only: scale, PartitionCounts: []int{2001}, Records: 2000},
		"--sessions is of the part scale, which is not measured: add --only scale, or leave it out":         {Sessions: []int{1}},
		"--partition-counts is of the part scale, which is not measured: add --only scale, or leave it out": {Only: []string{partLibrary}, PartitionCounts: []int{6}},
	} {
		o.Stdout, o.Stderr = io.Discard, io.Discard
		err := Run(t.Context(), o)
		if _, refused := errors.AsType[*OptionError](err); !refused || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What was printed as JSON is shown again as it was, and its wrong counts are an error again.
func TestResultIsShownAgain(t *testing.T) {
	r := scaleSample()
	r.Goals, r.Wrong = goals(r), []string{"one"}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "result.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Run(t.Context(), Options{From: file, Stdout: &out, Stderr: io.Discard}); !errors.Is(err, ErrWrong) || out.String() != render(r) {
		t.Errorf("%v\n%s\nwant\n%s", err, &out, render(r))
	}
	err = Run(t.Context(), Options{From: file + "x", Stdout: &out, Stderr: io.Discard})
	if refused, ok := errors.AsType[*OptionError](err); !ok || refused.Option != "--from" {
		t.Errorf("no such file: %v", err)
	}
}
