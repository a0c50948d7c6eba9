// Package demo runs an Ackmark pod beside an ordinary auto-commit consumer, kills processes of
// both, and counts what each lost.
//
// The parent process holds the broker, the generator and the independent reader; the sidecar, the
// pipelines and the auto-commit consumers are child processes of the same binary, so that a SIGKILL
// is a real one.
package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/hostport"
)

// Defaults of Options.
const (
	DefaultRecords    = 16_000
	DefaultKills      = 4
	DefaultPartitions = 6
	DefaultProcesses  = 2

	// A show that is looked at in a browser takes 35 s.
	PageRecords = 48_000
	PageKills   = 12

	embeddedSession = 1500 * time.Millisecond
	clusterSession  = 6 * time.Second // Kafka's default group.min.session.timeout.ms

	// bufferSize is the auto-commit consumer's buffer between its poll loop and its workers, as
	// services have it.
	bufferSize = 1_000
	// commitEvery is the commit interval of both sides. Kafka's default for auto-commit is 5 s,
	// librdkafka's too: 1 s is the kinder choice.
	commitEvery = time.Second
	// pollRecords is what one poll of the auto-commit consumer returns at most (Kafka's
	// max.poll.records, default 500).
	pollRecords = 100

	restartAfter = 200 * time.Millisecond
	firstKill    = 2 * time.Second
	keys         = 10_000

	maxLineBytes  = 900_000
	maxInputBytes = 1 << 30
	maxRecords    = 20_000_000
	maxRate       = 1_000_000
	maxShow       = 24 * time.Hour
)

// Options choose the show. Zero fields mean the defaults; see the flags of `ackmark demo`.
type Options struct {
	// Input is a file whose lines are the inputs, or "-" for Stdin. Empty: generated records.
	Input string
	// Brokers of a real cluster. Empty: the embedded development broker.
	Brokers []string
	// Kafka properties for the connections to a real cluster: security.*, sasl.*, ssl.*, https.*.
	Kafka map[string]string
	// Records is how many inputs are fed. Default 16,000, or all lines of Input.
	Records int
	// Rate is the average inputs per second. Default: what lets all kills happen under load.
	Rate float64
	// Kills per side. Negative: none. Default 4.
	Kills int
	// Seed of the kill schedule. Default: from the clock; it is printed.
	Seed uint64
	// Partitions of each topic. Default 6.
	Partitions int
	// Processes per side. Default 2.
	Processes int
	// Work is the simulated work per message. Negative: none. Default: what makes a process a
	// little slower than the average input, and two faster.
	Work time.Duration
	// Workers is how many messages a process works on at once, on both sides. Default: 10, or 50 at
	// high rates.
	Workers int
	// SessionTimeout of both groups: after it a killed member is noticed. Default 1.5 s, on a real
	// cluster 6 s.
	SessionTimeout time.Duration
	// ExactlyOnce adds a third side: Ackmark exactly-once, in transactions of a sidecar of its own.
	ExactlyOnce bool
	// MemoryLimit in bytes runs another show: processes under this limit, whose handlers stall and
	// leak. 0: the usual one.
	MemoryLimit int64
	// Page serves the sidecar's page while the show runs, and opens it in a browser where there is
	// a terminal and a display.
	Page bool
	// JSON prints the result as JSON on Stdout and the progress on Stderr.
	JSON bool
	// Verbose passes the children's logs to Stderr.
	Verbose bool

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Executable is re-executed for the children, with the arguments ChildArgs.
	Executable string
	ChildArgs  []string
}

// UsageError is an option that cannot be.
type UsageError struct{ Option, Problem string }

// Error implements error.
func (e *UsageError) Error() string { return e.Option + " " + e.Problem }

func (o Options) validate() error {
	bad := func(option, format string, args ...any) error {
		return &UsageError{Option: option, Problem: fmt.Sprintf(format, args...)}
	}
	switch {
	case o.Records < 0 || o.Records > maxRecords:
		return bad("--records", "is %d; it must be 1 to %d", o.Records, maxRecords)
	case !(o.Rate >= 0) || o.Rate > maxRate:
		return bad("--rate", "is %g; it must be positive, at most %d (records per second)", o.Rate, int(maxRate))
	case o.Kills > 100:
		return bad("--kills", "is %d; it must be 0 to 100", o.Kills)
	case o.Partitions < 0 || o.Partitions > 1000:
		return bad("--partitions", "is %d; it must be 1 to 1000", o.Partitions)
	case o.Processes < 0 || o.Processes > 20:
		return bad("--processes", "is %d; it must be 1 to 20", o.Processes)
	case o.Work > 10*time.Second:
		return bad("--work", "is %s; it must be at most 10s", o.Work)
	case o.Workers < 0 || o.Workers > bufferSize:
		return bad("--workers", "is %d; it must be 1 to %d", o.Workers, bufferSize)
	case o.SessionTimeout < 0 || o.SessionTimeout > 5*time.Minute:
		return bad("--session-timeout", "is %s; it must be 1s to 5m", o.SessionTimeout)
	case o.Page && o.MemoryLimit != 0:
		return bad("--page", "shows the usual show; leave --memory-limit out")
	case o.ExactlyOnce && o.MemoryLimit != 0:
		return bad("--exactly-once", "is for the usual show; leave --memory-limit out")
	case o.SessionTimeout > 0 && o.SessionTimeout < time.Second:
		return bad("--session-timeout", "is %s; brokers refuse less than 1s (Kafka by default less than 6s: group.min.session.timeout.ms)", o.SessionTimeout)
	}
	if b, is := hostport.FirstBad(o.Brokers); is {
		return bad("--brokers", "has %q; %s", b, hostport.Remedy)
	}
	for name := range o.Kafka {
		if kind, _, _ := strings.Cut(name, "."); !slices.Contains([]string{"security", "sasl", "ssl", "https"}, kind) {
			return bad("--kafka", "has %s; the demo takes security.*, sasl.*, ssl.* and https.* properties: the rest is the same for both sides", name)
		}
	}
	return nil
}

// plan is Options with every choice made.
type plan struct {
	Options
	duration   time.Duration // of the generator
	maxRecords int           // that an Ackmark process holds: received and not done
	killAt     []kill
}

// validate refuses what only a number of inputs shows.
func (p plan) validate() error {
	if seconds := float64(p.Records) / p.Rate; seconds > maxShow.Seconds() {
		return &UsageError{"--rate", fmt.Sprintf("is %g: %d inputs would take longer than a day; raise it, or lower --records", p.Rate, p.Records)}
	}
	return nil
}

// killGap is how far apart kills are: a killed member is noticed after the session timeout, and the
// group is whole again two heartbeats later. A next kill before that would only lengthen the stall.
func (o Options) killGap() time.Duration { return o.SessionTimeout + 1250*time.Millisecond }

// newPlan makes the choices that the options leave open, for this number of inputs.
func newPlan(o Options, records int) plan {
	o.Records = records
	o.Kills = max(orDefault(o.Kills, DefaultKills), 0)
	o.Partitions = orDefault(o.Partitions, DefaultPartitions)
	o.Processes = orDefault(o.Processes, DefaultProcesses)
	if o.SessionTimeout == 0 {
		o.SessionTimeout = embeddedSession
		if len(o.Brokers) > 0 {
			o.SessionTimeout = clusterSession
		}
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	if o.Rate == 0 {
		o.Rate = float64(records) / (firstKill + time.Duration(max(o.Kills, 1))*o.killGap()).Seconds()
	}
	o = o.withWork()
	p := plan{Options: o, duration: time.Duration(float64(records) / o.Rate * float64(time.Second))}
	p.maxRecords = max(bufferSize, int(o.Rate)/2)
	p.killAt = killSchedule(p)
	return p
}

// withWork chooses the work per message: together the processes of a side do 1.6 times the average
// rate, so that it keeps up when nobody kills it; one alone does not, and the bursts of the
// generator exceed it for moments. At high rates the processor is the limit, not the simulated
// work.
func (o Options) withWork() Options {
	headroom, workers := 1.6, 10
	if o.Rate > 2_500 {
		headroom, workers = 2.5, 50
	}
	o.Workers = orDefault(o.Workers, workers)
	perProcess := headroom * o.Rate / float64(o.Processes)
	if o.Work == 0 {
		o.Work = time.Duration(float64(o.Workers) / perProcess * float64(time.Second)).Round(100 * time.Microsecond)
		o.Work = min(o.Work, 100*time.Millisecond)
	}
	o.Work = max(o.Work, 0)
	return o
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
