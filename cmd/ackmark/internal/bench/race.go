package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

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
	if of, has := strings.CutSuffix(role, oneCPU); has {
		s.Role, s.OneCPU = of, true
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
	var before Usage
	brokersBefore, err := b.brokersCPU(ctx)
	if err != nil {
		return err
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
	brokersAfter, err := b.brokersCPU(ctx)
	if err != nil {
		return err
	}
	if brokersBefore != nil {
		run.BrokerCPU = *brokersAfter - *brokersBefore
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
	var env []string
	if app.OneCPU {
		env = []string{"GOMAXPROCS=1"}
	}
	server, err := o.start(ctx, spec{
		Role: roleServer, OneCPU: app.OneCPU, TransactionalID: transactional, CommitEvery: app.CommitEvery, Brokers: b.brokers, Socket: app.Socket, NoLinger: app.NoLinger, RoundTrip: app.RoundTrip, Profile: b.profile(roleServer, round), Metrics: app.Metrics, StateDir: app.StateDir,
	}, env...)
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
	committed, uncommitted, err := b.cluster.committed(ctx, s.Group, s.Input, 0)
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
