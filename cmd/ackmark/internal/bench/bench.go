package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// ErrWrong tells that a count did not add up. Everything else that a bench finds out is a figure,
// not an error.
var ErrWrong = errors.New("bench: counts are wrong")

const (
	runTimeout = 5 * time.Minute // of one contestant's run
	idleAfter  = "the run did not end: its inputs were not all acknowledged and committed"
)

// bench is one Run.
type bench struct {
	opts     Options
	progress *progress
	dir      string // for sockets
	brokers  []string
	cluster  *cluster
	broker   *process // the embedded one; nil: not ours
	result   *Result
}

// Run measures and prints. It returns ErrWrong when a count was wrong, an *OptionError, or why it
// could not measure.
func Run(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return err
	}
	b := &bench{opts: o, progress: newProgress(o.Stderr, o.Terminal), result: &Result{
		Go: runtime.Version(), CPUs: runtime.NumCPU(), Records: o.Records, Size: o.Size, Partitions: o.Partitions, Wrong: []string{},
	}}
	if o.From != "" {
		if err := b.read(); err != nil {
			return err
		}
	} else {
		began := time.Now()
		if err := b.measure(ctx); err != nil {
			return err
		}
		b.progress.end()
		b.result.Took = time.Since(began)
		b.result.Goals = goals(b.result)
	}
	if err := b.print(); err != nil {
		return err
	}
	return b.result.err()
}

// read takes a result that was measured before.
func (b *bench) read() error {
	text, err := os.ReadFile(b.opts.From)
	if err == nil {
		err = json.Unmarshal(text, b.result)
	}
	if err != nil {
		return &OptionError{"--from", fmt.Sprintf("is %q, which is no result of ackmark bench --json: %v", b.opts.From, err)}
	}
	return nil
}

func (b *bench) print() error {
	if b.opts.JSON {
		enc := json.NewEncoder(b.opts.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(b.result)
	}
	_, err := fmt.Fprint(b.opts.Stdout, render(b.result))
	return err
}

func (b *bench) measure(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "ackmark-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.opts.CPUProfile != "" {
		if err := os.MkdirAll(b.opts.CPUProfile, 0o755); err != nil {
			return &OptionError{"--cpuprofile", fmt.Sprintf("is %q, where no directory can be made: %v", b.opts.CPUProfile, err)}
		}
	}
	stop, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := b.saturated(ctx); err != nil {
		return err
	}
	if b.opts.wants(partProcesses) {
		if err := b.pods(ctx); err != nil {
			return err
		}
	}
	if b.opts.wants(partScale) {
		if err := b.scale(ctx); err != nil {
			return err
		}
	}
	if b.opts.wants(partSession) {
		if err := b.sessions(ctx); err != nil {
			return err
		}
	}
	if b.opts.wants(partMetrics) {
		b.progress.say("counting for nobody, by itself")
		if b.result.Unread, err = unread(ctx); err != nil {
			return err
		}
	}
	if b.opts.wants(partSlices) {
		if b.result.Sliced, err = b.sliced(ctx); err != nil {
			return err
		}
	}
	if b.opts.wants(partLatency) {
		if b.result.Latency, err = b.latency(ctx); err != nil {
			return err
		}
	}
	if b.opts.wants(partMemory) {
		b.result.Memory, err = b.memory(ctx)
	}
	return err
}

// open connects to the cluster given, or starts a broker.
func (b *bench) open(ctx context.Context) (stop func() error, err error) {
	b.brokers, b.result.Broker = b.opts.Brokers, strings.Join(b.opts.Brokers, ",")
	stop = func() error { return nil }
	if len(b.brokers) == 0 {
		b.progress.say("starting the embedded broker")
		// Not ended by ctx: topics are removed after an interrupt, too, and nobody would answer.
		broker, err := b.opts.start(context.WithoutCancel(ctx), spec{Role: roleBroker, Partitions: b.opts.Partitions, Profile: b.profile(roleBroker, 0)})
		if err != nil {
			return nil, err
		}
		stop, b.broker = broker.stop, broker
		ready, err := broker.await(ctx, eventReady)
		if err != nil {
			broker.kill()
			return nil, err
		}
		b.brokers, b.result.Broker = ready.Brokers, "embedded development broker, one process"
	}
	if b.cluster, err = connect(b.brokers, b.opts.Kafka); err != nil {
		return nil, errors.Join(err, stop())
	}
	stopBroker := stop
	return func() error {
		b.cluster.client.Close()
		return stopBroker()
	}, nil
}

// saturated is the load that most parts share.
func (b *bench) saturated(ctx context.Context) error {
	contestants, controls := b.opts.contestants()
	if len(contestants)+len(controls) == 0 {
		return nil
	}
	return b.races(ctx, b.opts.Partitions, contestants, controls, b.result.add)
}

// profile is the file of one process's profile, or "".
func (b *bench) profile(role string, round int) string {
	if b.opts.CPUProfile == "" {
		return ""
	}
	dir := b.opts.CPUProfile
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return filepath.Join(dir, fmt.Sprintf("%s-%02d.pprof", role, round))
}
