package bench

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Defaults of Options: a run of less than two minutes on two cores.
const (
	DefaultRecords    = 400_000
	DefaultSize       = 100
	DefaultPairs      = 16
	DefaultPartitions = 6
	DefaultBacklog    = 10_000_000

	minSize       = 16 // the sequence number and something to upper-case
	latencyRate   = 1000
	latencySlices = 16
)

// Parts of a bench, for Options.Only.
const (
	partLibrary   = "library"
	partSidecar   = "sidecar"
	partControls  = "controls"
	partLatency   = "latency"
	partMemory    = "memory"
	partMetrics   = "metrics"
	partState     = "state"
	partProcesses = "processes"
	partExactly   = "exactly-once"
	partSlices    = "slices"
	partScale     = "scale"
	partOneCPU    = "one-cpu"
	partSession   = "session"
)

// DefaultParts are measured where Options.Only names none; Parts lists what it may name.
var (
	DefaultParts = []string{partLibrary, partSidecar, partControls, partLatency, partMemory}
	Parts        = append(slices.Clone(DefaultParts), partMetrics, partState, partExactly, partProcesses, partSlices, partScale, partOneCPU, partSession)
)

// DefaultProcesses are those of the goals of the part processes, and DefaultSessionProcesses of the
// part session.
var (
	DefaultProcesses        = []int{10, 50}
	DefaultSessionProcesses = []int{10}
)

// The points of the part scale.
var (
	DefaultSessions        = []int{1, 2, 5, 10, 20, 50}
	DefaultPartitionCounts = []int{6, 30, 100, 300, 1000}
)

// maxSessions is the sidecar's default.
const maxSessions = 64

// Options of a bench. Zero fields mean the defaults.
type Options struct {
	// Brokers is a real cluster; empty: an embedded broker in a process of its own.
	Brokers []string
	// Kafka are client properties for Brokers (security.protocol …).
	Kafka map[string]string
	// BrokerPIDs are the processes of Brokers, where they run on this machine: their processor time
	// is measured, too.
	BrokerPIDs []int
	// Records of Size bytes are the inputs of each run, in Partitions partitions.
	Records, Size, Partitions int
	// Processes are the numbers of processes, of the parts processes and session; empty:
	// DefaultProcesses and DefaultSessionProcesses.
	Processes        []int
	sessionProcesses []int
	// Sessions and PartitionCounts are the points of the part scale; with one of them empty the
	// other series alone is measured, with both their defaults are.
	Sessions, PartitionCounts []int
	// Pairs is the number of rounds.
	Pairs int
	// Concurrency of the pipeline; 0: its default.
	Concurrency int
	// Backlog waits while the handler stalls in the memory run.
	Backlog int
	// CommitEvery are the intervals of the part exactly-once; the first is the sidecar's in the
	// part session. Default: 100 ms and 20 ms.
	CommitEvery []time.Duration
	// RoundTrip is added between the brokers and each process that the part session measures. Zero:
	// none; the command's default is DefaultRoundTrip.
	RoundTrip time.Duration
	// SessionEvery is for how long a transaction of the part session's GroupTransactSession takes
	// polls, 0 for one poll; nil: it is found, so that its median latency is the sidecar's.
	SessionEvery *time.Duration
	// Only names parts; empty: DefaultParts.
	Only []string
	// JSON prints the result as JSON to Stdout.
	JSON bool
	// From is a file with an earlier result as JSON: it is shown, and nothing is measured.
	From string
	// Against is another ackmark binary, of an earlier version: its pipeline runs beside ours, in
	// the same rounds. Empty: none.
	Against string
	// SourceHeaders turns on the pipeline's source headers, which are off by default. The bare loop
	// writes one, too. Not what Against runs, if that is older.
	SourceHeaders bool
	planted       float64       // a cost of the control of slices, by tests
	paced         time.Duration // how long a paced load of the part session lasts, by tests
	// CPUProfile is a directory for profiles of the measured processes.
	CPUProfile string

	// Executable and ChildArgs start a child process that calls RunChild.
	Executable     string
	ChildArgs      []string
	Stdout, Stderr io.Writer
	// Terminal: Stderr is one, progress stays on a line.
	Terminal bool
}

// OptionError is a value that cannot be.
type OptionError struct{ Option, Problem string }

func (e *OptionError) Error() string { return e.Option + " " + e.Problem }

func (o Options) withDefaults() Options {
	def(&o.Records, DefaultRecords)
	def(&o.Size, DefaultSize)
	def(&o.Pairs, DefaultPairs)
	def(&o.Partitions, DefaultPartitions)
	if len(o.Brokers) > 0 {
		def(&o.Backlog, realBacklog)
	}
	def(&o.Backlog, DefaultBacklog)
	o.sessionProcesses = o.Processes
	if len(o.Processes) == 0 {
		o.Processes, o.sessionProcesses = DefaultProcesses, DefaultSessionProcesses
	}
	if o.paced == 0 {
		o.paced = sessionPaced
	}
	if len(o.Only) == 0 {
		o.Only = DefaultParts
	}
	if len(o.Sessions)+len(o.PartitionCounts) == 0 && o.wants(partScale) {
		o.Sessions, o.PartitionCounts = DefaultSessions, DefaultPartitionCounts
	}
	if len(o.CommitEvery) == 0 {
		o.CommitEvery = commitEvery
	}
	return o
}

func def(field *int, value int) {
	if *field == 0 {
		*field = value
	}
}

func (o Options) validate() error {
	bad := func(option, format string, args ...any) error {
		return &OptionError{Option: option, Problem: fmt.Sprintf(format, args...)}
	}
	switch {
	case o.Records < 1000:
		return bad("--records", "is %d: at least 1000, or only the start is measured", o.Records)
	case o.Size < minSize || o.Size > 900_000:
		return bad("--size", "is %d bytes: %d to 900000", o.Size, minSize)
	case o.Pairs < 1:
		return bad("--pairs", "is %d: at least 1; 16 for an interval that means something", o.Pairs)
	case o.Partitions < 1 || o.Partitions > o.Records:
		return bad("--partitions", "is %d: 1 to --records", o.Partitions)
	case o.Concurrency < 0:
		return bad("--concurrency", "is %d: a number of lanes, or 0 for the pipeline's default", o.Concurrency)
	case o.Against != "" && !isExecutable(o.Against):
		return bad("--against", "is %q, which cannot be executed: give the path of an ackmark binary", o.Against)
	case o.Backlog < 100_000:
		return bad("--backlog", "is %d: at least 100000, or the budget holds it all", o.Backlog)
	}
	if err := o.validateBrokerPIDs(); err != nil {
		return err
	}
	for _, every := range o.CommitEvery {
		if every < 5*time.Millisecond || every > time.Second {
			return bad("--commit-every", "has %s: 5ms to 1s", every)
		}
	}
	for _, n := range o.Processes {
		if n < 1 || n > maxSessions {
			return bad("--processes", "has %d: 1 to %d", n, maxSessions)
		}
	}
	if err := o.validateScale(); err != nil {
		return err
	}
	if err := o.validateSession(); err != nil {
		return err
	}
	for _, part := range o.Only {
		if !slices.Contains(Parts, part) {
			return bad("--only", "has %q: one of %s", part, strings.Join(Parts, ", "))
		}
	}
	return nil
}

func (o Options) validateScale() error {
	for _, series := range []struct {
		option, why string
		points      []int
		most        int
	}{
		{"--sessions", "what a sidecar takes by default", o.Sessions, maxSessions},
		{"--partition-counts", "--records", o.PartitionCounts, o.Records},
	} {
		if len(series.points) > 0 && !o.wants(partScale) {
			return &OptionError{series.option, "is of the part " + partScale + ", which is not measured: add --only " + partScale + ", or leave it out"}
		}
		for _, n := range series.points {
			if n < 1 || n > series.most {
				return &OptionError{series.option, fmt.Sprintf("has %d: 1 to %d, %s", n, series.most, series.why)}
			}
		}
	}
	return nil
}

func (o Options) validateSession() error {
	if o.RoundTrip < 0 || o.RoundTrip > time.Second {
		return &OptionError{"--round-trip", fmt.Sprintf("is %s: 0 to 1s", o.RoundTrip)}
	}
	every := o.SessionEvery
	switch {
	case every == nil:
	case *every < 0 || *every > longest:
		return &OptionError{"--session-every", fmt.Sprintf("is %s: 0, for a transaction of each poll, to %s", *every, longest)}
	case !o.wants(partSession):
		return &OptionError{"--session-every", "is of the part " + partSession + ", which is not measured: add --only " + partSession + ", or leave it out"}
	}
	return nil
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func (o Options) wants(part string) bool { return slices.Contains(o.Only, part) }

// contestants are those of the saturated load, the bare loop first; controls are beside it.
func (o Options) contestants() (contestants, controls []string) {
	for _, c := range []struct{ part, name string }{{partLibrary, library}, {partSidecar, viaSidecar}} {
		if o.wants(c.part) || o.wants(partMetrics) || o.wants(partState) {
			contestants = append(contestants, c.name)
		}
		if o.wants(c.part) && o.Against != "" {
			contestants = append(contestants, c.name+before)
		}
		if o.wants(partState) {
			contestants = append(contestants, c.name+kept)
		}
		if o.wants(partMetrics) { // beside the one without, whatever drifts
			contestants = append(contestants, c.name+idle, c.name+scraped)
		}
	}
	if o.wants(partLibrary) || o.wants(partSidecar) {
		contestants = append([]string{bare}, contestants...)
	}
	if o.wants(partExactly) {
		if !slices.Contains(contestants, viaSidecar) {
			contestants = append(contestants, viaSidecar)
		}
		contestants = append(contestants, o.exactlyOnce()...)
	}
	if o.wants(partOneCPU) {
		if !slices.Contains(contestants, viaSidecar) {
			contestants = append(contestants, viaSidecar)
		}
		contestants = append(contestants, viaSidecar+oneCPU)
	}
	if o.wants(partControls) {
		controls = []string{consumeBare, consumeLibrary}
	}
	return contestants, controls
}
