package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ackmark/ackmark/internal/proof/figures"
)

// Pods with many processes that produce: each by a producer of its own, or all through one sidecar.
const (
	ownProducers = "own producers"
	oneSidecar   = "one sidecar"

	pacedRate  = 40 // records a second of each process
	pacedFor   = 5 * time.Second
	pacedPairs = 4 // at most: what is counted there hardly varies
)

// Pod is what was measured with one number of processes.
type Pod struct {
	Processes int `json:"processes"`
	// Paced: each emits 40 records a second. Otherwise as fast as it may.
	Paced bool `json:"paced"`
	// BrokersIdle is the CPU time that the brokers took after each round for nothing, for as long
	// as a paced run lasts; empty where it is not known.
	BrokersIdle []time.Duration `json:"brokers_idle_ns,omitempty"`

	Modes []*PodMode `json:"modes"`
}

func newPod(processes int) *Pod {
	return &Pod{Processes: processes, Modes: []*PodMode{{Name: ownProducers}, {Name: oneSidecar}}}
}

// PodMode is one way to produce.
type PodMode struct {
	Name string   `json:"name"`
	Runs []PodRun `json:"runs"`
}

// PodRun is one run of all processes of a pod.
type PodRun struct {
	// Wall is from the common start to the last acknowledgement of the slowest.
	Wall    time.Duration `json:"wall_ns"`
	Records int           `json:"records"`
	// Apps and Sidecar are sums over processes; Connections and PeakRSS, too.
	Apps    Usage  `json:"apps"`
	Sidecar *Usage `json:"sidecar,omitempty"`
	// BrokersCPU is nil where the brokers' processes are not ours.
	BrokersCPU *time.Duration `json:"brokers_cpu_ns,omitempty"`
	// P50, P90 and P99 of the time from when a record was due to its acknowledgement, in
	// milliseconds, of a paced run.
	P50, P90, P99 float64
	// First and Last are when the first process was done, and the last.
	First time.Duration `json:"first_ns"`
	Last  time.Duration `json:"last_ns"`
}

func (r *PodRun) cpu() time.Duration {
	if r.Sidecar != nil {
		return r.Apps.CPU + r.Sidecar.CPU
	}
	return r.Apps.CPU
}

func (r *PodRun) connections() int64 {
	if r.Sidecar != nil {
		return r.Apps.Connections + r.Sidecar.Connections
	}
	return r.Apps.Connections
}

func (r *PodRun) produceRequests() int64 {
	if r.Sidecar != nil {
		return r.Apps.ProduceRequests + r.Sidecar.ProduceRequests
	}
	return r.Apps.ProduceRequests
}

func (w *PodMode) series(of func(*PodRun) float64) (all []float64) {
	for i := range w.Runs {
		all = append(all, of(&w.Runs[i]))
	}
	return all
}

func (w *PodMode) walls() []float64 {
	return w.series(func(r *PodRun) float64 { return r.Wall.Seconds() })
}

// cpus are nanoseconds a record.
func (w *PodMode) cpus() []float64 {
	return w.series(func(r *PodRun) float64 { return float64(r.cpu()) / float64(r.Records) })
}

func (w *PodMode) brokersCPU() (all []float64) {
	for i := range w.Runs {
		if cpu := w.Runs[i].BrokersCPU; cpu != nil {
			all = append(all, float64(*cpu)/float64(w.Runs[i].Records))
		}
	}
	return all
}

// beyondIdle is brokersCPU without what they took for nothing in the same round.
func (w *PodMode) beyondIdle(idle []time.Duration) (all []float64) {
	for i := range min(len(w.Runs), len(idle)) {
		if r := &w.Runs[i]; r.BrokersCPU != nil {
			all = append(all, (float64(*r.BrokersCPU)-float64(idle[i])*r.Wall.Seconds()/pacedFor.Seconds())/float64(r.Records))
		}
	}
	return all
}

// pods measures each number of processes, saturated and paced.
func (b *bench) pods(ctx context.Context) error {
	for _, n := range b.opts.Processes {
		for _, paced := range []bool{false, true} {
			pod := newPod(n)
			pod.Paced = paced
			b.result.Pods = append(b.result.Pods, pod)
			rounds := b.opts.Pairs
			if paced {
				rounds = min(rounds, pacedPairs)
			}
			if err := b.podRounds(ctx, pod, rounds); err != nil {
				return err
			}
		}
	}
	return nil
}

// podRounds runs both ways to produce in turn, and turned round in each second round.
func (b *bench) podRounds(ctx context.Context, pod *Pod, rounds int) error {
	for i := range rounds {
		order := slices.Clone(pod.Modes)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, way := range order {
			b.progress.say("%d processes, paced %v, round %d of %d: %s", pod.Processes, pod.Paced, i+1, rounds, way.Name)
			run, err := b.podRun(ctx, pod, way.Name)
			if err != nil {
				return err
			}
			way.Runs = append(way.Runs, run)
		}
		if pod.Paced {
			if err := b.idleBrokers(ctx, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

// idleBrokers looks what the brokers take while nobody asks them for anything: beside what a paced
// load costs, that is much.
func (b *bench) idleBrokers(ctx context.Context, pod *Pod) error {
	before, err := b.brokersCPU(ctx)
	if err != nil || before == nil {
		return err
	}
	select {
	case <-time.After(pacedFor):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := b.brokersCPU(ctx)
	if err == nil {
		pod.BrokersIdle = append(pod.BrokersIdle, *after-*before)
	}
	return err
}

// emitted is how many records each of so many processes emits: of few, the beginning of their
// sessions would be measured.
func (o *Options) emitted(processes int) int {
	if o.Records == DefaultRecords {
		return max(o.Records/processes, DefaultRecords/10)
	}
	return max(o.Records/processes, 1)
}

// podRun starts all processes, lets them begin together, and waits for the last.
func (b *bench) podRun(ctx context.Context, pod *Pod, way string) (run PodRun, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, errors.New("the run did not end: not everything was acknowledged"))
	defer cancel()
	s := spec{Role: roleEmitter, Brokers: b.brokers, Size: b.opts.Size, Inputs: b.opts.emitted(pod.Processes)}
	if pod.Paced {
		s.Rate, s.Inputs = pacedRate, int(pacedFor.Seconds()*pacedRate)
	}
	if s.Output, err = b.cluster.createTopic(ctx, "output", b.opts.Partitions); err != nil {
		return run, err
	}
	defer b.cluster.remove(context.WithoutCancel(ctx), "", s.Output)
	var server *process
	if way == oneSidecar {
		if server, err = b.startServer(ctx, b.opts, &s, 0); err != nil {
			return run, err
		}
		defer server.kill()
	}
	apps, err := b.startEmitters(ctx, s, pod.Processes)
	defer killAll(apps)
	if err != nil {
		return run, err
	}
	if err := b.measurePod(ctx, &run, apps, server); err != nil {
		return run, err
	}
	if err := stopAll(apps, server); err != nil {
		return run, err
	}
	run.Records = s.Inputs * pod.Processes
	outputs, err := b.cluster.count(ctx, s.Output)
	if want := run.Records + pod.Processes; err == nil && outputs != want { // with the first of each
		b.result.Wrong = append(b.result.Wrong, fmt.Sprintf("%d processes, %s: %d outputs in the topic of %d", pod.Processes, way, outputs, want))
	}
	return run, err
}

// startEmitters returns when all have emitted their first record.
func (b *bench) startEmitters(ctx context.Context, s spec, n int) (apps []*process, err error) {
	for i := range n {
		s.Emitter = i
		p, err := b.opts.start(ctx, s)
		if err != nil {
			return apps, err
		}
		apps = append(apps, p)
	}
	for _, p := range apps {
		if _, err := p.await(ctx, eventReady); err != nil {
			return apps, err
		}
	}
	return apps, nil
}

func killAll(apps []*process) {
	for _, p := range apps {
		p.kill()
	}
}

// stopAll ends the apps, and then their sidecar, if there is one.
func stopAll(apps []*process, server *process) error {
	for _, p := range apps {
		if err := p.stop(); err != nil {
			return err
		}
	}
	if server == nil {
		return nil
	}
	return server.stop()
}

// measurePod is the run itself: all processes are ready.
func (b *bench) measurePod(ctx context.Context, run *PodRun, apps []*process, server *process) error {
	usage := func(p *process) (Usage, error) {
		if p == nil {
			return Usage{}, nil
		}
		return p.usage(ctx)
	}
	brokersBefore, err := b.brokersCPU(ctx)
	if err != nil {
		return err
	}
	before, err := usage(server)
	if err != nil {
		return err
	}
	for _, p := range apps {
		p.Say(commandGo)
	}
	var late []time.Duration
	for _, p := range apps {
		done, err := p.await(ctx, eventDone)
		if err != nil {
			return err
		}
		run.add(done)
		late = append(late, done.Late...)
	}
	run.Wall = run.Last
	slices.Sort(late)
	ms := func(q float64) float64 { return float64(figures.Quantile(late, q)) / 1e6 }
	run.P50, run.P90, run.P99 = ms(0.5), ms(0.9), ms(0.99)
	if server != nil {
		after, err := server.usage(ctx)
		if err != nil {
			return err
		}
		used := after.Since(before)
		run.Sidecar = &used
	}
	brokersAfter, err := b.brokersCPU(ctx)
	if err != nil {
		return err
	}
	if brokersBefore != nil {
		cpu := *brokersAfter - *brokersBefore
		run.BrokersCPU = &cpu
	}
	return nil
}

func (r *PodRun) add(done event) {
	r.Last = max(r.Last, done.Wall)
	if r.First == 0 || done.Wall < r.First {
		r.First = done.Wall
	}
	r.Apps.add(done.Usage)
}
