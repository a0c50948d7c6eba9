package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/metric"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/netfault"
)

// Roles of child processes beside the contestants' names.
const (
	roleBroker    = "broker"
	roleSynthetic = "synthetic-broker" // an endless input, outputs are not kept
	roleServer    = "sidecar-server"
	roleMemory    = "memory"
	roleEmitter   = "emitter"
	roleSession   = "session"
)

// spec is what the parent tells a child to be.
type spec struct {
	Role       string            `json:"role"`
	Brokers    []string          `json:"brokers,omitempty"`
	Kafka      map[string]string `json:"kafka,omitempty"`
	Socket     string            `json:"socket,omitempty"`
	Group      string            `json:"group,omitempty"`
	Input      string            `json:"input,omitempty"`
	Output     string            `json:"output,omitempty"`
	Partitions int               `json:"partitions,omitempty"`
	// Inputs to handle before the end; 0: until stopped.
	Inputs      int `json:"inputs,omitempty"`
	Size        int `json:"size,omitempty"`
	Concurrency int `json:"concurrency,omitempty"`
	// Emitter is the number of an emitter among those of its run, from 0: at a time they emit
	// different keys.
	Emitter int `json:"emitter,omitempty"`
	// Rate of an emitter, in records a second; 0: as fast as it may.
	Rate          int    `json:"rate,omitempty"`
	NoLinger      bool   `json:"no_linger,omitempty"`
	SourceHeaders bool   `json:"source_headers,omitempty"`
	Profile       string `json:"profile,omitempty"`
	// Metrics is idle or scraped; empty: none.
	Metrics string `json:"metrics,omitempty"`
	// CommitEvery makes the app exactly-once; with it a sidecar has TransactionalID.
	CommitEvery     time.Duration `json:"commit_every,omitempty"`
	TransactionalID string        `json:"transactional_id,omitempty"`
	// Slice is how many inputs a pipeline handles each time that it is told to; 0: all of them at
	// once. Planted is a cost on top, for tests of the method: of the processor time of a slice.
	Slice   int     `json:"slice,omitempty"`
	Planted float64 `json:"planted,omitempty"`
	// RoundTrip is added between the process and the brokers.
	RoundTrip time.Duration `json:"round_trip,omitempty"`
	// SessionEvery is how long a transaction of a session takes polls; 0: one poll.
	SessionEvery time.Duration `json:"session_every,omitempty"`
	// OneCPU: the sidecar has GOMAXPROCS 1.
	OneCPU bool `json:"one_cpu,omitempty"`
	// StateDir is where session files are; empty: nowhere.
	StateDir string `json:"state_dir,omitempty"`
}

// Kinds of events that a child tells.
const (
	eventMetrics  = "metrics" // the first one, of who is scraped
	eventReady    = "ready"
	eventAssigned = "assigned"
	eventUsage    = "usage"
	eventDone     = "done"
	eventHeld     = "held"
)

// event is what a child tells its parent.
type event struct {
	Kind           string          `json:"kind"`
	Brokers        []string        `json:"brokers,omitempty"`
	Metrics        string          `json:"metrics,omitempty"` // a URL
	Usage          Usage           `json:"usage"`
	Wall           time.Duration   `json:"wall,omitempty"`
	HandlerMallocs float64         `json:"handler_mallocs,omitempty"`
	Memory         *Memory         `json:"memory,omitempty"`
	Late           []time.Duration `json:"late_ns,omitempty"` // of an emitter that is paced, by record
	Held           *Held           `json:"held,omitempty"`
}

// Commands of the parent.
const (
	commandUsage = "usage"
	commandHeld  = "held"
	commandStop  = "stop"
	commandGo    = "go"     // of an emitter
	commandSlice = "slice"  // of a pipeline that works in slices
	commandEvery = "every " // another SessionEvery follows
)

// child is the running child process.
type child struct {
	spec     spec
	meter    meter
	log      *slog.Logger
	parent   *childproc.Parent
	released chan struct{} // the stall of the memory run has ended
	metrics  metric.MeterProvider
	started  chan struct{} // closed when an emitter is to begin
	slices   chan struct{} // capacity 1: a slice is to begin
	every    atomic.Int64  // SessionEvery as it is now
}

// RunChild is the main function of a child process. It ends the process when the parent is gone.
func RunChild(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	c := &child{released: make(chan struct{}), started: make(chan struct{}), slices: make(chan struct{}, 1)}
	if c.parent, err = childproc.Attach(stdin, stdout, &c.spec, "ackmark bench"); err != nil {
		return err
	}
	c.meter.profile = c.spec.Profile
	c.log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("process", c.spec.Role)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ctx, forget := c.parent.Obey(ctx, func(command string) {
		switch command {
		case commandUsage:
			c.tell(event{Kind: eventUsage, Usage: c.meter.usage()})
		case commandHeld:
			c.tell(event{Kind: eventHeld, Held: heldNow()})
		case commandStop:
			stop()
		case commandGo:
			close(c.started)
		case commandSlice:
			c.slices <- struct{}{}
		default:
			if every, err := time.ParseDuration(strings.TrimPrefix(command, commandEvery)); err == nil {
				c.every.Store(int64(every))
			}
		}
	})
	defer forget()
	var end func()
	if c.metrics, end, err = c.measures(ctx); err != nil {
		return err
	}
	defer end()
	run := map[string]func(context.Context) error{
		roleBroker: c.runBroker, roleSynthetic: c.runSynthetic, roleServer: c.runServer, roleMemory: c.runMemory, roleEmitter: c.runEmitter, roleSession: c.runSession,
		bare: c.runBare, consumeBare: c.runBare,
		library: c.runPipeline, viaSidecar: c.runPipeline, consumeLibrary: c.runPipeline,
	}[c.spec.Role]
	if run == nil {
		return fmt.Errorf("bench child: unknown role %q", c.spec.Role)
	}
	if err := run(ctx); err != nil {
		return fmt.Errorf("%s: %w", c.spec.Role, err)
	}
	return nil
}

func (c *child) tell(e event) { c.parent.Tell(e) }

// begin starts the clock when the group has joined.
func (c *child) begin() {
	first, err := c.meter.begin()
	if err != nil {
		c.log.Error("profile", "err", err)
		os.Exit(1)
	}
	if first {
		c.tell(event{Kind: eventAssigned})
	}
}

func (c *child) done(handlerMallocs float64) {
	wall, usage := c.meter.finish()
	c.tell(event{Kind: eventDone, Wall: wall, Usage: usage, HandlerMallocs: handlerMallocs})
}

// clientOptions are the options that all Kafka clients of the child share.
func (c *child) clientOptions(more ...kgo.Opt) ([]kgo.Opt, error) {
	opts, err := settings.KafkaOptions(c.spec.Kafka)
	if err == nil && c.spec.RoundTrip > 0 {
		opts, err = withRoundTrip(opts, c.spec.RoundTrip)
	}
	return append(append(opts, kgo.ClientID("ackmark-bench-"+c.spec.Role), kgo.WithHooks(&c.meter)), more...), err
}

// withRoundTrip adds a round trip to the way to the brokers.
func withRoundTrip(opts []kgo.Opt, roundTrip time.Duration) ([]kgo.Opt, error) {
	probe, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	dial, _ := probe.OptValue(kgo.Dialer).(func(context.Context, string, string) (net.Conn, error)) // nil: kgo's own
	return append(opts, kgo.Dialer(netfault.Far(roundTrip, dial))), nil
}

// lingerOptions of clients that produce: the client's default, or none.
func (c *child) lingerOptions() []kgo.Opt {
	if c.spec.NoLinger {
		return []kgo.Opt{kgo.ProducerLinger(0)}
	}
	return nil
}

// emits tells whether the contestant makes outputs.
func (c *child) emits() bool { return !strings.HasPrefix(c.spec.Role, "consume-") }

// transform is the work of the job, the same for every contestant.
func transform(value []byte) []byte { return bytes.ToUpper(value) }
