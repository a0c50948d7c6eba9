package bench

import (
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Of brokers that are not ours the processor time is known by their process ids, or not at all.
func TestBrokersCPU(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system has no /proc")
	}
	b := &bench{}
	if cpu, err := b.brokersCPU(t.Context()); cpu != nil || err != nil {
		t.Errorf("of nobody: %v, %v", cpu, err)
	}
	b.opts.BrokerPIDs = []int{os.Getpid()}
	before, err := b.brokersCPU(t.Context())
	if err != nil || before == nil {
		t.Fatal(before, err)
	}
	b.opts.BrokerPIDs = append(b.opts.BrokerPIDs, -1)
	if _, err := b.brokersCPU(t.Context()); err == nil {
		t.Error("a broker that does not run used no time")
	}
}

func TestBrokerPIDsAreRefused(t *testing.T) {
	for want, o := range map[string]Options{
		"is of the brokers that --brokers names": {BrokerPIDs: []int{1}},
		"has -1, whose CPU time cannot be read":  {BrokerPIDs: []int{-1}, Brokers: []string{"127.0.0.1:1"}},
	} {
		o.Stdout, o.Stderr = io.Discard, io.Discard
		err := Run(t.Context(), o)
		if refused, ok := errors.AsType[*OptionError](err); !ok || refused.Option != "--broker-pids" || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What idle brokers take is not the load's: it is taken away round by round, for as long as the run
// lasted.
func TestBrokersBeyondIdle(t *testing.T) {
	cpu := func(d time.Duration) *time.Duration { return &d }
	p := newPod(50)
	p.Paced, p.BrokersIdle = true, []time.Duration{time.Second, 2 * time.Second}
	for _, d := range []time.Duration{9 * time.Second, 10 * time.Second} {
		p.Modes[0].Runs = append(p.Modes[0].Runs, PodRun{Wall: pacedFor, Records: 1000, BrokersCPU: cpu(d)})
		p.Modes[1].Runs = append(p.Modes[1].Runs, PodRun{Wall: pacedFor / 2, Records: 1000, BrokersCPU: cpu(d / 2), Sidecar: &Usage{}})
	}
	for i, want := range [][]float64{{8e6, 8e6}, {4e6, 4e6}} {
		if got := p.Modes[i].beyondIdle(p.BrokersIdle); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", p.Modes[i].Name, got, want)
		}
	}
	r := &Result{Pods: []*Pod{p}}
	r.Goals = goals(r)
	if text := render(r); !strings.Contains(text, "brokers' CPU a record beyond idle") || !strings.Contains(text, "8000000") {
		t.Errorf("not shown:\n%s", text)
	}
	if got := p.Modes[0].beyondIdle(nil); len(got) > 0 {
		t.Errorf("of what is not known: %v", got)
	}
}
