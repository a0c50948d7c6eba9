package bench

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// sessionRan is of TestBenchEndToEnd: both modes were measured, and an interval was looked for.
func sessionRan(t *testing.T, r *Result) {
	t.Helper()
	if len(r.Session) != 1 || r.Session[0].Processes != 2 || r.Session[0].Partitions != 4 || r.Session[0].Wanted <= 0 || len(r.Session[0].Trials) == 0 {
		t.Fatalf("sessions: %+v", r.Session)
	}
	for _, mode := range r.Session[0].Modes {
		if len(mode.Runs) != 1 {
			t.Fatalf("%s ran %d times", mode.Name, len(mode.Runs))
		}
		for _, l := range []SessionLoad{mode.Runs[0].Saturated, mode.Runs[0].Paced} {
			used := l.clients()
			if l.Records == 0 || l.Wall <= 0 || l.BrokersCPU == nil || used.Transactions == 0 || used.Requests <= used.Transactions || used.Connections < 3 {
				t.Errorf("%s: %+v", mode.Name, l)
			}
		}
		if run := mode.Runs[0]; run.P50 < 4 || run.P99 < run.P50 { // an end of a transaction takes some round trips
			t.Errorf("%s: %+v", mode.Name, run)
		}
	}
}

// A latency of half an interval and something is found at once, whatever that is; one that does not
// move is given up; what is beyond an interval's ends is not tried.
func TestSearchForAnInterval(t *testing.T) {
	for name, c := range map[string]struct {
		want    float64
		latency func(time.Duration) float64
		found   time.Duration
		trials  int
	}{
		"shorter": {60, func(every time.Duration) float64 { return 25 + every.Seconds()*500 }, 70 * time.Millisecond, 2},
		"longer":  {90, func(every time.Duration) float64 { return 5 + every.Seconds()*500 }, 170 * time.Millisecond, 2},
		"at once": {75, func(every time.Duration) float64 { return 25 + every.Seconds()*500 }, 100 * time.Millisecond, 1},
		"steeper": {60, func(every time.Duration) float64 { return 10 + every.Seconds()*800 }, 62 * time.Millisecond, 3},
		"never":   {10, func(every time.Duration) float64 { return 25 + every.Seconds()*500 }, 0, 2},
		"deaf":    {60, func(time.Duration) float64 { return 100 }, 100 * time.Millisecond, 3},
		"too far": {2000, func(every time.Duration) float64 { return every.Seconds() * 500 }, time.Second, 2},
	} {
		s := search{want: c.want}
		for every, more := s.next(); more; every, more = s.next() {
			s.tried = append(s.tried, SessionTrial{every, c.latency(every)})
		}
		if got := s.nearest().Every; (got-c.found).Abs() > 3*time.Millisecond || len(s.tried) != c.trials {
			t.Errorf("%s: %s after %d trials, want %s after %d: %v", name, got, len(s.tried), c.found, c.trials, s.tried)
		}
	}
	s := search{want: 60}
	for i, up := 0, 1.0; i < 100; i, up = i+1, -up { // one that swings
		every, more := s.next()
		if !more {
			break
		}
		s.tried = append(s.tried, SessionTrial{every, 60 + 10*up})
	}
	if len(s.tried) != sessionTrials {
		t.Errorf("%d trials of a latency that swings", len(s.tried))
	}
}

// sessionSample is a sidecar that is three times as fast in three rounds that drift, with a
// thirtieth of the transactions, at a latency that is so many times as long.
func sessionSample(longer float64) *Result {
	s := newSession(&Options{Partitions: 6, RoundTrip: 5 * time.Millisecond, CommitEvery: commitEvery}, 10)
	s.SessionEvery, s.Wanted, s.Trials = 80*time.Millisecond, 60, []SessionTrial{{100 * time.Millisecond, 70}, {80 * time.Millisecond, 61}}
	cpu := 4 * time.Millisecond
	for round := range 3 {
		drift := time.Duration(10+round) * time.Millisecond
		one := SessionLoad{Records: 1000, Wall: drift, Apps: Usage{CPU: time.Millisecond, Requests: 60, Connections: 10}, Sidecar: &Usage{CPU: time.Millisecond, Requests: 40, Transactions: 10, Connections: 6}, BrokersCPU: &cpu}
		own := SessionLoad{Records: 1000, Wall: 3 * drift, Apps: Usage{CPU: time.Millisecond, Requests: 1000, Transactions: 300, Connections: 30}}
		s.Modes[0].Runs = append(s.Modes[0].Runs, SessionRun{Round: round, Paced: one, Saturated: one, P50: 60 * longer, P90: 70, P99: 80})
		s.Modes[1].Runs = append(s.Modes[1].Runs, SessionRun{Round: round, Paced: own, Saturated: own, P50: 60, P90: 65, P99: 160})
	}
	return &Result{Records: 1000, Size: 100, Broker: "test", Session: []*Session{s}}
}

// The table has both modes and their ratios; the goal says at which latency it was missed.
func TestSessionTable(t *testing.T) {
	r := sessionSample(1)
	r.Goals = goals(r)
	text := strings.Join(strings.Fields(render(r)), " ")
	for _, want := range []string{
		"Exactly-once of 10 processes, 10 partitions, a round trip of 5ms to the brokers: one sidecar that commits every 100ms,", "a transaction for polls of 80ms. Medians of 3 runs.",
		"median latency is 1.00 of the sidecar's, equal within 10 %; their interval was looked for at 60.0 ms (100ms: 70.0, 80ms: 61.0 ms).",
		"records/s 90,909 30,303 3 3.00 … 3.00", "clients' CPU, ns/record 2,000 1,000 2 ", "brokers' CPU, ns/record – – – –",
		"transactions per million records 10,000 300,000 0.0333 ", "requests per million records 100,000 1,000,000 0.1 ", "connections 16 30 0.533 ",
		"Paced: 200 records a second of each process", "p99, ms 80.0 160.0 0.5 ", "transactions/s 909.1 9090.9 0.1 ",
		"G5 10 processes, sidecar-exactly-once-100ms / session, polls of 80ms, at equal latency, speed 3.000 3.000 … 3.000 (3) ≥ 5 ≥ 10 ✗ missed",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, render(r))
		}
	}
	r = sessionSample(2)
	r.Session[0].Wanted, r.Session[0].SessionEvery = 0, 0
	r.Goals = goals(r)
	text = strings.Join(strings.Fields(render(r)), " ")
	for _, want := range []string{"0.50 of the sidecar's: NOT equal within 10 %; their interval was given.", "a transaction for one poll each.", "at 2.00 of its latency, speed"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, render(r))
		}
	}
	if strings.Contains(render(sample()), "GroupTransactSession") {
		t.Error("a table of what did not run")
	}
}

// Each process has as many partitions as any other.
func TestSessionPartitions(t *testing.T) {
	for _, c := range [][3]int{{6, 10, 10}, {6, 2, 6}, {6, 4, 8}, {1, 1, 1}, {100, 30, 120}} {
		if got := newSession(&Options{Partitions: c[0], CommitEvery: commitEvery}, c[1]).Partitions; got != c[2] {
			t.Errorf("%d partitions and %d processes: %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

func TestSessionOptions(t *testing.T) {
	if o := (Options{}).withDefaults(); !slices.Equal(o.Processes, []int{10, 50}) || !slices.Equal(o.sessionProcesses, []int{10}) {
		t.Errorf("by default %v, %v", o.Processes, o.sessionProcesses)
	}
	if o := (Options{Processes: []int{3}}).withDefaults(); !slices.Equal(o.sessionProcesses, []int{3}) {
		t.Errorf("of 3: %v", o.sessionProcesses)
	}
	if slices.Contains(DefaultParts, partSession) {
		t.Error("ten minutes more by default")
	}
	every := func(d time.Duration) *time.Duration { return &d }
	only := []string{partSession}
	for want, o := range map[string]Options{
		"--round-trip is -1ns: 0 to 1s":                                                                      {Only: only, RoundTrip: -1},
		"--session-every is 2s: 0, for a transaction of each poll, to 1s":                                    {Only: only, SessionEvery: every(2 * time.Second)},
		"--session-every is of the part session, which is not measured: add --only session, or leave it out": {SessionEvery: every(0)},
	} {
		o.Stdout, o.Stderr = io.Discard, io.Discard
		err := Run(t.Context(), o)
		if _, refused := errors.AsType[*OptionError](err); !refused || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Sums over processes have everything.
func TestUsageAdds(t *testing.T) {
	one := Usage{CPU: 1, Mallocs: 2, AllocBytes: 3, GCs: 4, ProduceRequests: 5, Requests: 6, Transactions: 7, Connections: 8, PeakRSS: 9}
	sum := one
	sum.add(one)
	if want := (Usage{CPU: 2, Mallocs: 4, AllocBytes: 6, GCs: 8, ProduceRequests: 10, Requests: 12, Transactions: 14, Connections: 16, PeakRSS: 18}); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
	if l := (SessionLoad{Apps: one}); l.clients() != one {
		t.Errorf("alone: %+v", l.clients())
	}
}
