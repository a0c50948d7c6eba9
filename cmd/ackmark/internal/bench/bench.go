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

	"github.com/ackmark/ackmark/internal/proof/figures"
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

// raceInput is what contestants race through. Their outputs go to as many partitions.
type raceInput struct {
	topic      string
	partitions int
}

// races fills the input once and lets the contestants race through it, round by round.
func (b *bench) races(ctx context.Context, partitions int, contestants, controls []string, add func(name string, run Race)) error {
	b.progress.say("writing %s inputs of %d bytes into %s partitions", figures.Thousands(b.opts.Records), b.opts.Size, figures.Thousands(partitions))
	in := raceInput{partitions: partitions}
	var err error
	if in.topic, err = b.cluster.createTopic(ctx, "input", partitions); err != nil {
		return err
	}
	defer b.cluster.remove(context.WithoutCancel(ctx), "", in.topic)
	if err := b.cluster.fill(ctx, in.topic, b.opts.Records, b.opts.Size); err != nil {
		return fmt.Errorf("bench: writing the inputs: %w", err)
	}
	b.progress.say("warming up, and reading the outputs back")
	for _, name := range contestants {
		if _, err := b.race(ctx, in, name, 0, true); err != nil {
			return err
		}
	}
	for i, round := range schedule(contestants, controls, b.opts.Pairs) {
		for _, name := range round {
			b.progress.say("%s partitions, round %d of %d: %s", figures.Thousands(partitions), i+1, b.opts.Pairs, name)
			run, err := b.race(ctx, in, name, i+1, false)
			if err != nil {
				return err
			}
			add(name, run)
		}
	}
	return nil
}

// race is one run of one contestant, from fresh processes to checked counts.
func (b *bench) race(ctx context.Context, in raceInput, name string, round int, readBack bool) (Race, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, errors.New(idleAfter))
	defer cancel()
	output, err := b.cluster.createTopic(ctx, "output", in.partitions)
	if err != nil {
		return Race{}, err
	}
	group := b.cluster.name("group")
	defer b.cluster.remove(context.WithoutCancel(ctx), group, output)
	role, earlier := strings.CutSuffix(name, before)
	o := b.opts
	if earlier {
		o.Executable = o.Against
	}
	s := spec{
		Role: role, SourceHeaders: o.SourceHeaders, Brokers: b.brokers, Group: group, Input: in.topic, Output: output, Inputs: b.opts.Records, Concurrency: b.opts.Concurrency,
		Profile: b.profile(name, round),
	}
	for _, metrics := range []string{idle, scraped} {
		if of, has := strings.CutSuffix(role, metrics); has {
			s.Role, s.Metrics = of, metrics
		}
	}
	if of, has := strings.CutSuffix(role, kept); has {
		s.Role = of
		if s.StateDir, err = b.stateDir(name, round); err != nil {
			return Race{}, err
		}
	}
	s.Role, s.CommitEvery = transactions(s.Role)
	stateDir := s.StateDir
	run := Race{Round: round, Inputs: b.opts.Records}
	if s.Role == viaSidecar {
		err = b.raceWithSidecar(ctx, o, s, &run)
	} else {
		err = b.raceAlone(ctx, o, s, &run, nil)
	}
	if err != nil {
		return Race{}, err
	}
	if err := keptFiles(stateDir); err != nil {
		return Race{}, err
	}
	return run, b.check(ctx, in, s, &run, readBack)
}

func (b *bench) raceAlone(ctx context.Context, o Options, s spec, run *Race, server *process) error {
	app, err := o.start(ctx, s)
	if err != nil {
		return err
	}
	defer app.kill()
	if _, err := app.await(ctx, eventAssigned); err != nil {
		return err
	}
	var before, brokerBefore Usage
	if b.broker != nil {
		if brokerBefore, err = b.broker.usage(ctx); err != nil {
			return err
		}
	}
	if server != nil { // idle until now, and for the moment that this takes
		if before, err = server.usage(ctx); err != nil {
			return err
		}
	}
	done, err := app.await(ctx, eventDone)
	if err != nil {
		return err
	}
	run.Scrapes = app.scrapes()
	run.Wall, run.App, run.HandlerMallocs = done.Wall, done.Usage, done.HandlerMallocs
	if b.broker != nil {
		after, err := b.broker.usage(ctx)
		if err != nil {
			return err
		}
		run.BrokerCPU = after.Since(brokerBefore).CPU
	}
	if server != nil {
		after, err := server.usage(ctx)
		if err != nil {
			return err
		}
		used := after.Since(before)
		run.Sidecar = &used
	}
	return app.stop()
}

func (b *bench) raceWithSidecar(ctx context.Context, o Options, s spec, run *Race) error {
	server, err := b.startServer(ctx, o, &s, run.Round)
	if err != nil {
		return err
	}
	defer server.kill()
	if err := b.raceAlone(ctx, o, s, run, server); err != nil {
		return err
	}
	return server.stop()
}

// startServer starts a sidecar, ready to deliver, and tells the app's spec where it is.
func (b *bench) startServer(ctx context.Context, o Options, app *spec, round int) (*process, error) {
	app.Socket = "unix://" + filepath.Join(b.dir, fmt.Sprintf("s%d", b.cluster.next), "sidecar.sock")
	transactional := ""
	if app.CommitEvery > 0 {
		transactional = b.cluster.name("transactions")
	}
	server, err := o.start(ctx, spec{
		Role: roleServer, TransactionalID: transactional, CommitEvery: app.CommitEvery, Brokers: b.brokers, Socket: app.Socket, NoLinger: app.NoLinger, Profile: b.profile(roleServer, round), Metrics: app.Metrics, StateDir: app.StateDir,
	})
	app.StateDir = "" // the sidecar keeps the files
	if err != nil {
		return nil, err
	}
	if _, err := server.await(ctx, eventReady); err != nil {
		server.kill()
		return nil, err
	}
	return server, nil
}

// check compares the counts of a run with the inputs. Nothing was killed, so there is nothing to
// repeat either.
func (b *bench) check(ctx context.Context, in raceInput, s spec, run *Race, readBack bool) (err error) {
	wrong := func(format string, args ...any) {
		b.result.Wrong = append(b.result.Wrong, fmt.Sprintf("%s, %d partitions, round %d: ", s.Role, in.partitions, run.Round)+fmt.Sprintf(format, args...))
	}
	if s.CommitEvery > 0 {
		run.Outputs, err = b.cluster.countCommitted(ctx, s.Output, b.brokers, b.opts.Kafka)
	} else {
		run.Outputs, err = b.cluster.count(ctx, s.Output)
	}
	if err != nil {
		return err
	}
	if why := wrongCount(s.Role, run.Outputs, b.opts.Records); why != "" {
		wrong("%s", why)
	}
	committed, uncommitted, err := b.cluster.committed(ctx, s.Group, s.Input)
	if err != nil {
		return err
	}
	run.Committed = committed
	for _, what := range uncommitted {
		wrong("%s", what)
	}
	if !readBack {
		return nil
	}
	lost, err := b.cluster.verify(ctx, s.Output, b.brokers, b.opts.Kafka, b.opts.Records)
	for _, what := range lost {
		wrong("%s", what)
	}
	return err
}

// wrongCount compares a topic's outputs with the inputs: fewer are lost, more are repeated. Who
// only consumes makes none.
func wrongCount(role string, outputs, inputs int) string {
	if role == consumeBare || role == consumeLibrary {
		inputs = 0
	}
	if outputs == inputs {
		return ""
	}
	return fmt.Sprintf("%d outputs in the topic of %d", outputs, inputs)
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
