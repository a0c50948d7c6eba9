package bench

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

const (
	// DefaultRoundTrip is that of the goal.
	DefaultRoundTrip = 5 * time.Millisecond
	// DefaultSessionEvery is where the search for an interval of the sessions begins.
	DefaultSessionEvery = 100 * time.Millisecond

	sessionRate  = 200 // records a second of each process, of the paced load
	sessionPaced = 5 * time.Second
	// equalWithin is how far two median latencies may be apart that are called equal.
	equalWithin = 0.1
)

// Session is exactly-once through one sidecar for all processes, against a GroupTransactSession of
// franz-go in each of them.
type Session struct {
	Processes  int `json:"processes"`
	Partitions int `json:"partitions"`
	// RoundTrip was added between the brokers and each process that is measured.
	RoundTrip time.Duration `json:"round_trip_ns"`
	// RatePerSecond of each process, of the paced load.
	RatePerSecond int `json:"rate_per_second"`
	// CommitEvery is the sidecar's. SessionEvery is for how long a transaction of a session takes
	// polls; 0: one poll.
	CommitEvery  time.Duration `json:"commit_every_ns"`
	SessionEvery time.Duration `json:"session_every_ns"`
	// Wanted is the sidecar's median latency in milliseconds, at which SessionEvery was looked for
	// by Trials; 0: it was given.
	Wanted float64        `json:"wanted_ms,omitempty"`
	Trials []SessionTrial `json:"trials,omitempty"`

	Modes []*SessionMode `json:"modes"`
}

// SessionTrial is an interval of the sessions and the median latency that it came to.
type SessionTrial struct {
	Every  time.Duration `json:"every_ns"`
	Median float64       `json:"median_ms"`
}

// SessionMode is one of the two modes.
type SessionMode struct {
	Name string       `json:"name"`
	Runs []SessionRun `json:"runs"`
}

// SessionRun is one run of all processes: first paced, then as fast as they may.
type SessionRun struct {
	Round     int         `json:"round"`
	Paced     SessionLoad `json:"paced"`
	Saturated SessionLoad `json:"saturated"`
	// P50, P90 and P99 of the time from when a record was due to when a reader of committed records
	// had its output, in milliseconds, of the paced load.
	P50, P90, P99 float64
}

// SessionLoad is what one load took of all processes.
type SessionLoad struct {
	Records int `json:"records"`
	// Wall is from the common start until all inputs were committed, or of the paced load until the
	// last output was read.
	Wall time.Duration `json:"wall_ns"`
	// Apps and Sidecar are sums over processes.
	Apps    Usage  `json:"apps"`
	Sidecar *Usage `json:"sidecar,omitempty"`
	// BrokersCPU is nil where the brokers' processes are not known. Who writes the inputs and reads
	// the outputs of the paced load is in it, for both.
	BrokersCPU *time.Duration `json:"brokers_cpu_ns,omitempty"`
}

// clients is the sum of apps and sidecar.
func (l *SessionLoad) clients() Usage {
	sum := l.Apps
	if l.Sidecar != nil {
		sum.add(*l.Sidecar)
	}
	return sum
}

func newSession(o *Options, processes int) *Session {
	each := (max(o.Partitions, processes) + processes - 1) / processes
	return &Session{
		Processes: processes, Partitions: each * processes, RoundTrip: o.RoundTrip, RatePerSecond: sessionRate, CommitEvery: o.CommitEvery[0],
		Modes: []*SessionMode{{Name: onceEvery(o.CommitEvery[0])}, {Name: roleSession}},
	}
}

// sidecars is the mode through the sidecar, own the other one.
func (s *Session) sidecars() *SessionMode { return s.Modes[0] }
func (s *Session) own() *SessionMode      { return s.Modes[1] }

// rate is that of all processes.
func (s *Session) rate() int { return s.RatePerSecond * s.Processes }

// sessions measures each number of processes.
func (b *bench) sessions(ctx context.Context) error {
	for _, n := range b.opts.sessionProcesses {
		s := newSession(&b.opts, n)
		b.result.Session = append(b.result.Session, s)
		if err := b.agree(ctx, s); err != nil {
			return err
		}
		for i := range b.opts.Pairs {
			order := slices.Clone(s.Modes)
			if i%2 == 1 {
				slices.Reverse(order)
			}
			for _, mode := range order {
				b.progress.say("%d processes, round %d of %d: %s", n, i+1, b.opts.Pairs, s.title(mode))
				run, err := b.sessionRun(ctx, s, mode, i+1)
				if err != nil {
					return err
				}
				mode.Runs = append(mode.Runs, run)
			}
		}
	}
	return nil
}

// sessionRun is one run of one mode, from fresh processes to checked counts.
func (b *bench) sessionRun(ctx context.Context, s *Session, mode *SessionMode, round int) (run SessionRun, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, errors.New(idleAfter))
	defer cancel()
	run.Round = round
	g, err := b.startGroup(ctx, s, mode, round)
	if err != nil {
		return run, err
	}
	defer g.end(ctx)
	l, err := b.newLoad(g.pacedRecords(b.opts.paced), g.output)
	if err != nil {
		return run, err
	}
	ms, err := g.paced(ctx, l, b.opts.paced, &run.Paced)
	l.close()
	if err != nil {
		return run, err
	}
	run.P50, run.P90, run.P99 = figures.Quantile(ms, 0.5), figures.Quantile(ms, 0.9), figures.Quantile(ms, 0.99)
	if err := g.saturated(ctx, b.opts.Records, &run.Saturated); err != nil {
		return run, err
	}
	if err := stopAll(g.apps, g.server); err != nil {
		return run, err
	}
	return run, g.check(ctx, round)
}
