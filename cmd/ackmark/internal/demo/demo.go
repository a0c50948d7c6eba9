package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrInterrupted is the cause when the show was broken off.
var ErrInterrupted = errors.New("interrupted: everything is stopped and removed; no verdict")

const (
	joinTimeout  = 20 * time.Second
	drainTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
)

// show is one run of the demo.
type show struct {
	plan
	cluster *cluster
	gen     *generator
	ackmark *side
	auto    *side
	exact   *side // nil: nobody asked for it
	started time.Time
	phase   atomic.Pointer[string]
	fail    context.CancelCauseFunc
}

// Run runs the show and prints the result. The error is a *UsageError, a *LostError, an
// *UnfinishedError, ErrInterrupted, or says what went wrong; under a memory limit also a
// *RepeatedError or ErrOverLimit.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ackmark-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.MemoryLimit != 0 {
		return runMemory(ctx, o, dir)
	}
	src, records, err := openSource(o, dir)
	if err != nil {
		return err
	}
	defer src.Close()
	p := newPlan(o, records)
	if err := p.validate(); err != nil {
		return err
	}
	s := &show{plan: p, started: time.Now()}
	ctx, s.fail = context.WithCancelCause(ctx)
	defer s.fail(nil)
	if s.cluster, err = openCluster(ctx, s.plan); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.cluster.close(context.WithoutCancel(ctx))) }()
	s.prepare(src, dir)
	if err := s.choosePage(); err != nil {
		return err
	}
	res, err := s.run(ctx)
	if err != nil {
		return s.explain(ctx, err)
	}
	return s.conclude(res)
}

// conclude prints the result, and is its verdict: one input that Ackmark lost is an error.
func (s *show) conclude(res *result) error {
	if err := s.print(res); err != nil {
		return err
	}
	if a := res.Ackmark; a.Lost > 0 || a.Altered > 0 || a.Reordered > 0 {
		return &LostError{a.Lost, a.Altered, a.Reordered}
	}
	x := res.ExactlyOnce
	if x != nil && x.Lost+x.Duplicated+x.Altered+x.Reordered > 0 {
		return &NotOnceError{x.Lost, x.Duplicated, x.Altered, x.Reordered}
	}
	if n := res.Ackmark.Unfinished; n > 0 {
		return &UnfinishedError{Inputs: n, Idle: s.drainIdle()}
	}
	if x != nil && x.Unfinished > 0 {
		return &UnfinishedError{Inputs: x.Unfinished, Idle: s.drainIdle()}
	}
	return nil
}

// explain prefers the cause over what followed from it, and an interrupt over all.
func (s *show) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, context.Canceled) {
		return ErrInterrupted
	}
	return err
}

func (s *show) prepare(src source, dir string) {
	socket, transactional := filepath.Join(dir, "ackmark.sock"), filepath.Join(dir, "exactly-once.sock")
	name := s.cluster.prefix
	s.ackmark = s.newSide("Ackmark", name+"-ackmark")
	s.auto = s.newSide("auto-commit", name+"-auto-commit")
	if s.ExactlyOnce {
		s.exact = s.newSide("exactly-once", name+"-exactly-once")
	}
	s.cluster.groups = s.groups()
	s.gen = &generator{src: src, onFed: func(partition int32, now time.Time) {
		for _, of := range s.sides() {
			of.stalls.input(partition, now)
		}
	}}
	for _, of := range s.sides() {
		of.seen = newChecker(&s.gen.ledger, s.Records)
	}
	s.ackmark.sidecar = s.newProcess(s.ackmark, roleSidecar, "sidecar", socket)
	if s.exact != nil {
		s.exact.sidecar = s.newProcess(s.exact, roleSidecar, "sidecar-once", transactional)
		s.exact.sidecar.spec.TransactionalID = s.exact.group
	}
	for i := range s.Processes {
		s.ackmark.apps = append(s.ackmark.apps, s.newProcess(s.ackmark, rolePipeline, fmt.Sprintf("app-%d", i+1), socket))
		s.auto.apps = append(s.auto.apps, s.newProcess(s.auto, roleAutoCommit, fmt.Sprintf("auto-%d", i+1), ""))
		if s.exact != nil {
			s.exact.apps = append(s.exact.apps, s.newProcess(s.exact, roleExactlyOnce, fmt.Sprintf("once-%d", i+1), transactional))
		}
	}
}

func (s *show) newSide(title, name string) *side {
	return &side{title: title, group: name, output: name + "-output", stalls: newStalls(s.Partitions)}
}

func (s *show) newProcess(of *side, r role, name, socket string) *process {
	return &process{
		opts: s.Options, fatal: func(err error) { s.fail(err) },
		spec: childSpec{
			Role: r, Name: name, Brokers: s.cluster.addrs, Kafka: s.Kafka, Socket: socket,
			Group: of.group, Input: s.cluster.prefix + "-input", Output: of.output,
			Work: s.Work, Workers: s.Workers, MaxRecords: s.maxRecords, SessionTimeout: s.SessionTimeout,
		},
	}
}

// sides are those of the show: Ackmark alone under a memory limit.
func (s *show) sides() []*side {
	all := []*side{s.ackmark, s.auto, s.exact}
	return slices.DeleteFunc(all, func(of *side) bool { return of == nil })
}

func (s *show) groups() (names []string) {
	for _, of := range s.sides() {
		names = append(names, of.group)
	}
	return names
}

func (s *show) outputs() (topics []string) {
	for _, of := range s.sides() {
		topics = append(topics, of.output)
	}
	return topics
}

func (s *show) setPhase(text string) { s.phase.Store(&text) }

// run is the show from the topics to the verdict. All processes are gone when it returns.
func (s *show) run(ctx context.Context) (*result, error) {
	s.setPhase("starting")
	if err := s.cluster.createTopics(ctx, s.Partitions, s.outputs()...); err != nil {
		return nil, err
	}
	defer s.destroy()
	background, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	view := newView(s)
	defer view.stop()
	if err := s.startProcesses(ctx); err != nil {
		return nil, err
	}
	s.openPage()
	tasks.Go(func() {
		if err := tail(background, s.cluster, s.sides()); err != nil {
			s.fail(err)
		}
	})
	tasks.Go(func() { s.watchLag(background) })
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	s.setPhase("draining")
	if err := s.drain(ctx); err != nil {
		return nil, err
	}
	problems := s.stopProcesses()
	s.setPhase("reading the outputs")
	return s.verdict(ctx, problems)
}

func (s *show) startProcesses(ctx context.Context) error {
	for _, of := range s.sides() {
		for _, p := range of.all() {
			if err := p.start(); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, joinTimeout+2*s.SessionTimeout, errors.New("the deadline passed"))
	defer cancel()
	if err := s.cluster.joined(ctx, s.Processes, s.groups()...); err != nil {
		return fmt.Errorf("%w\n%s", err, s.logs())
	}
	return nil
}

// load feeds the inputs while the schedule kills.
func (s *show) load(ctx context.Context) error {
	s.setPhase("under load")
	ctx, cancel := context.WithCancel(ctx)
	var killer sync.WaitGroup
	killer.Go(func() { s.killOnSchedule(ctx) })
	err := s.gen.run(ctx, s.plan, s.cluster)
	cancel()
	killer.Wait()
	return err
}

func (s *show) killOnSchedule(ctx context.Context) {
	begin := time.Now()
	for _, k := range s.killAt {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(begin.Add(k.at))):
			for _, of := range s.sides() {
				of.kill(k.victim)
			}
		}
	}
}

// watchLag asks the brokers twice a second.
func (s *show) watchLag(ctx context.Context) {
	for ctx.Err() == nil {
		for _, of := range s.sides() {
			if lag, err := s.cluster.lag(ctx, of.group); err == nil {
				of.lag.Store(lag)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// drain waits until all sides have committed everything, for as long as they get on: a slow
// machine is no loss. Sides that stand still go on to the verdict, which tells what they left from
// what they lost.
func (s *show) drain(ctx context.Context) error {
	least, since := int64(math.MaxInt64), time.Now()
	return poll(ctx, 100*time.Millisecond, "everything to be committed", func() (bool, error) {
		var left int64
		for _, of := range s.sides() {
			lag, err := s.cluster.lag(ctx, of.group)
			if err != nil {
				return false, err
			}
			of.lag.Store(lag)
			left += lag
		}
		if left < least {
			least, since = left, time.Now()
		}
		return left == 0 || time.Since(since) > s.drainIdle(), nil
	})
}

// drainIdle is how long nothing at all may be committed in the drain: a rebalance after a kill, and
// one message, take less.
func (s *show) drainIdle() time.Duration { return drainTimeout + 2*s.SessionTimeout + s.Work }

// stopProcesses ends everything as Kubernetes does: the apps by SIGTERM, then the sidecar; who does
// not end is killed. It returns what did not go as it should: the verdict counts all the same.
func (s *show) stopProcesses() []string {
	s.setPhase("stopping")
	var stopping sync.WaitGroup
	var mu sync.Mutex
	var problems []string
	stop := func(p *process) {
		if err := p.terminate(stopTimeout); err != nil {
			mu.Lock()
			defer mu.Unlock()
			problems = append(problems, err.Error())
		}
	}
	for _, of := range s.sides() {
		for _, p := range of.apps {
			stopping.Go(func() { stop(p) })
		}
	}
	stopping.Wait()
	for _, of := range s.sides() {
		if of.sidecar != nil {
			stop(of.sidecar)
		}
	}
	slices.Sort(problems)
	return problems
}

func (s *show) destroy() {
	for _, of := range s.sides() {
		for _, p := range of.all() {
			p.destroy()
		}
	}
}

// logs are the last lines that the children wrote, for an error.
func (s *show) logs() string {
	var out string
	for _, of := range s.sides() {
		for _, p := range of.all() {
			for _, line := range p.lastLog() {
				out += "  " + line + "\n"
			}
		}
	}
	return out
}

func (s *show) verdict(ctx context.Context, problems []string) (r *result, err error) {
	r = s.newResult()
	r.Problems = problems
	if r.Ackmark, err = s.judge(ctx, s.ackmark); err != nil {
		return nil, err
	}
	if r.AutoCommit, err = s.judge(ctx, s.auto); err != nil {
		return nil, err
	}
	if s.exact != nil {
		if r.ExactlyOnce, err = s.judge(ctx, s.exact); err != nil {
			return nil, err
		}
		if r.ExactlyOnce.Aborted, err = countAborted(ctx, s.cluster, s.exact.output, r.ExactlyOnce.Outputs); err != nil {
			return nil, err
		}
	}
	r.ElapsedSeconds = seconds(time.Since(s.started))
	return r, nil
}

func (s *show) judge(ctx context.Context, of *side) (*sideResult, error) {
	c := newChecker(&s.gen.ledger, s.Records)
	if err := readAll(ctx, s.cluster, of.output, c); err != nil {
		return nil, err
	}
	lag, err := s.cluster.lag(ctx, of.group)
	if err != nil {
		return nil, err
	}
	unfinished, err := readUnfinished(ctx, s.cluster, of.group, c)
	if err != nil {
		return nil, err
	}
	of.mu.Lock()
	defer of.mu.Unlock()
	r := &sideResult{
		Inputs: s.Records, counts: c.counts(), Lost: int(c.judge.Lost(nil)) - unfinished, Unfinished: unfinished, Lag: lag, Kills: of.kills, HeldAtKill: of.heldAt,
		LongestStallSeconds: seconds(of.stalls.max()), BrokerConnections: of.peakConns, ProducerConnections: of.peakProd,
	}
	for _, p := range of.all() {
		_, _, crashes := p.snapshot()
		r.Crashes += crashes
	}
	return r, nil
}
