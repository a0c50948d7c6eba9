package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/proof/verify/brokerwatch"
	"github.com/ackmark/ackmark/internal/proof/verify/spy"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// App is one app process: a pipeline with its own network.
type App struct {
	Name     string // unique in its lab
	Pipeline *pipeline.Pipeline

	l      *Lab
	job    *job
	as     AppConfig
	host   *host
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error
	dead   atomic.Bool          // killed: whatever it does reaches nobody
	gone   chan struct{}        // closed with dead
	ways   producer.Switcher    // its sidecar client; nil: it has none
	served atomic.Pointer[host] // the last sidecar that it reached
}

// AppConfig is how one app differs from the others. The zero value does not.
type AppConfig struct {
	// Direct gives it a producer of its own, in a lab with a sidecar.
	Direct bool
	// Group is the number of its group, of Config.Groups.
	Group int
	// AtLeastOnce makes it so in a lab that is exactly-once.
	AtLeastOnce bool
	// Session is the id of its session, default its name. An app that was killed and comes back may
	// use the same.
	Session string
	// Instance makes it a static member.
	Instance string
	// Unproven lets its death be seen by its broken stream only: no pid proves it.
	Unproven bool
	// Dial changes its sidecar client, Pipeline its whole configuration, after Config.Dial and
	// Config.App.
	Dial     func(*producer.DialConfig)
	Pipeline func(*pipeline.Config)
}

// StartApp starts a process. A name that was there before gets a number: a restarted process is
// another one.
func (l *Lab) StartApp(name string) *App { return l.StartAppAs(name, AppConfig{}) }

// StartAppAs starts a process that differs from the others.
func (l *Lab) StartAppAs(name string, as AppConfig) *App {
	for n, taken := 2, name; l.named(name); n++ {
		name = fmt.Sprintf("%s-%d", taken, n)
	}
	a := &App{Name: name, l: l, job: l.jobs[as.Group], as: as, host: l.host(name), ended: make(chan struct{}), gone: make(chan struct{})}
	a.host.unproven = as.Unproven
	p, err := pipeline.New(a.config())
	if err != nil {
		l.T.Fatalf("app %s: %v", name, err)
	}
	a.Pipeline = p
	ctx, cancel := context.WithCancelCause(context.Background())
	a.cancel = cancel
	l.apps = append(l.apps, a)
	l.Note("start %s", name)
	go func() {
		defer close(a.ended)
		a.err = p.Run(ctx)
	}()
	return a
}

func (l *Lab) named(name string) bool {
	for _, a := range l.apps {
		if a.Name == name {
			return true
		}
	}
	return false
}

func (a *App) config() pipeline.Config {
	l, log := a.l, a.l.logger(a.Name, &a.dead)
	cfg := pipeline.Config{
		Consumer: consumer.Config{
			Brokers: brokers, Group: a.job.group, Topics: []string{In}, InstanceID: a.as.Instance, Protocol: l.cfg.Protocol,
			Options:        append(l.options(a.host), kgo.WithHooks(a.commitHook())),
			SessionTimeout: DefaultSessionTimeout, MaxRecords: 2000, MaxBytes: 8 << 20,
			Hooks: consumer.Hooks{
				Assigned: func(_ context.Context, _ consumer.Membership, added []*consumer.Assignment) {
					a.job.stays.begin(a, added)
				},
				Revoking: func(_ context.Context, leaving []*consumer.Assignment) { a.job.stays.letGo(a, leaving) },
			},
		},
		Handler: pipeline.HandlerFunc(a.handle), Order: l.cfg.Order, Concurrency: l.cfg.Concurrency, Logger: log,
	}
	if l.cfg.DeadLetter {
		cfg.DeadLetter.Topic = a.job.dead
	}
	if l.cfg.ExactlyOnce && !a.as.AtLeastOnce {
		cfg.Mode = pipeline.ExactlyOnce
		a.job.checker.ExactlyOnce(a.Name)
	}
	if l.cfg.Direct || a.as.Direct {
		cfg.Producer = a.direct(producer.DirectConfig{Brokers: brokers, Options: l.options(a.host), Logger: log})
	} else {
		cfg.Producer = a.dial(log)
	}
	for _, change := range []func(*pipeline.Config){l.cfg.App, a.as.Pipeline} {
		if change != nil {
			change(&cfg)
		}
	}
	l.shareSession(cfg.Consumer.SessionTimeout)
	cfg.Producer = &gate{spy.New(cfg.Producer, a.job.checker, a.Name), a}
	return cfg
}

// dial makes a client of the sidecar.
func (a *App) dial(log *slog.Logger) producer.Producer {
	cfg := producer.DialConfig{Target: "sidecar", App: "lab", SessionID: cmp.Or(a.as.Session, a.Name), Dialer: a.dialSidecar, Logger: log,
		Fallback: producer.FallbackConfig{Direct: producer.DirectConfig{Brokers: brokers, Options: a.l.options(a.host)}}}
	for _, change := range []func(*producer.DialConfig){a.l.cfg.Dial, a.as.Dial} {
		if change != nil {
			change(&cfg)
		}
	}
	p := cfg.New()
	a.ways, _ = p.(producer.Switcher)
	return p
}

// Fallback changes the mode of its sidecar client's fallback.
func (a *App) Fallback(mode producer.FallbackMode) {
	a.l.Note("%s: fallback %s", a.Name, mode)
	if err := a.ways.SetFallback(mode); err != nil {
		a.l.T.Fatal(err)
	}
}

// FallbackStats tells which way its units go.
func (a *App) FallbackStats() producer.FallbackStats { return a.ways.FallbackStats() }

// direct makes a producer of the app's own, connected and with its producer id.
func (a *App) direct(cfg producer.DirectConfig) producer.Producer {
	exactly := a.l.cfg.ExactlyOnce && !a.as.AtLeastOnce
	if exactly {
		// Of a group its own: a static member of another one with the same name would take it.
		cfg.TransactionalID = fmt.Sprint(transactionalID, "-", cmp.Or(a.as.Instance, a.Name), "-", a.as.Group)
		cfg.TransactionTimeout = a.l.nextTimeout()
	}
	primer := new(primer)
	cfg.Options = append(cfg.Options, kgo.WithHooks(primer))
	p := producer.Direct(cfg)
	ctx, cancel := a.l.context()
	defer cancel()
	if err := p.Check(ctx); err != nil {
		a.l.T.Fatalf("app %s: %v", a.Name, err)
	}
	if !exactly { // a lane takes its ids before it begins
		primer.prime(a.l)
	}
	return p
}

// errKilled ends what a killed process still does.
var errKilled = errors.New("lab: the process was killed")

// handle is the handler of every app: it tells the checker, takes its time, and calls the test's.
func (a *App) handle(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
	_ = a.host.running(context.Background())
	if a.dead.Load() {
		return nil, pipeline.Fatal(errKilled)
	}
	p := verify.Partition{Topic: in.Topic, Partition: in.Partition}
	a.job.checker.HandedOutBy(a.Name, in.Assignment().Epoch, p, in.Offset, in.Value)
	a.job.stays.handedOut(a, p, in.Assignment().Epoch, in.Value)
	if work := a.l.cfg.Work; work > 0 {
		t := time.NewTimer(time.Duration(a.l.hash("work", in.Partition, in.Offset) % uint64(work)))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	out, err := a.l.cfg.Handler(a.l, in)
	for i := range out {
		if out[i].Topic == Out {
			out[i].Topic = a.job.out
		}
	}
	_ = a.host.running(context.Background())
	if a.dead.Load() {
		return nil, pipeline.Fatal(errKilled)
	}
	return out, err
}

// gate keeps a killed process from delivering, and a stopped one for now.
type gate struct {
	*spy.Producer
	a *App
}

// Deliver implements producer.Producer.
func (g *gate) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	_ = g.a.host.running(context.Background())
	if g.a.dead.Load() {
		return producer.ErrClosed
	}
	return g.Producer.Deliver(ctx, units, r)
}

// Assign implements producer.Producer.
func (g *gate) Assign(ctx context.Context, m producer.Membership, added []producer.Assignment) error {
	_ = g.a.host.running(context.Background())
	if g.a.dead.Load() {
		return producer.ErrClosed
	}
	return g.Producer.Assign(ctx, m, added)
}

// commitHook tells the checker about commits in flight, as long as the process lives: a kill
// cancels what it cancels.
func (a *App) commitHook() kgo.Hook {
	return &commitHook{brokerwatch.InFlight(a.job.checker, a.Name).(commitObserver), a}
}

type commitObserver interface {
	kgo.HookBrokerWrite
	kgo.HookBrokerE2E
}

type commitHook struct {
	to commitObserver
	a  *App
}

func (h *commitHook) OnBrokerWrite(m kgo.BrokerMetadata, key int16, n int, wait, took time.Duration, err error) {
	if !h.a.dead.Load() {
		h.to.OnBrokerWrite(m, key, n, wait, took, err)
	}
}

func (h *commitHook) OnBrokerE2E(m kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if !h.a.dead.Load() {
		h.to.OnBrokerE2E(m, key, e2e)
	}
}

// dialSidecar is the producer's dialer. Another sidecar than the last one is sent everything again
// of which there is no report; the same one knows what it has, and nothing repeats (S6). Which one
// it is the connection tells: while a slow dial was on its way one may have gone and another come.
func (a *App) dialSidecar(ctx context.Context) (net.Conn, error) {
	c, err := a.host.dial(ctx, "", "localhost:"+sidecarPort)
	if err != nil || a.dead.Load() {
		return c, err
	}
	to := c.(*conn).out.to
	if before := a.served.Swap(to); before != nil && before != to {
		n := a.job.checker.Unreported("another sidecar", a.Name)
		a.l.Note("%s reaches another sidecar: at most %d inputs repeat", a.Name, n)
	}
	return c, nil
}

// State of the app's pipeline.
func (a *App) State() pipeline.State { return a.Pipeline.State() }

// Killed tells that the process was killed.
func (a *App) Killed() bool { return a.dead.Load() }

func (a *App) over() bool {
	select {
	case <-a.ended:
		return true
	default:
		return false
	}
}

// Kill ends the process as SIGKILL does: what it has written still arrives, then its connections
// end. From now on whatever it does reaches nobody.
func (a *App) Kill() {
	a.l.Note("kill %s", a.Name)
	a.kill()
}

// kill takes the network away first: a handler that finds its process dead stops the pipeline, and
// what that says on its way out must not reach the sidecar (a Release, so that the will finds
// nothing to commit).
func (a *App) kill() {
	if a.over() || !a.die() {
		return
	}
	a.cancel(errKilled)
}

// die tells whether it was alive.
func (a *App) die() bool {
	if !a.host.kill() {
		return false
	}
	a.dead.Store(true)
	a.job.checker.ProcessGone(a.Name)
	a.job.stays.died(a)
	close(a.gone)
	return true
}

// Pause stops the process as SIGSTOP does (see stop.go), Resume lets it go on.
func (a *App) Pause() {
	a.l.Note("stop %s", a.Name)
	a.job.checker.ProcessStopped(a.Name)
	a.host.stop()
}

// Resume is SIGCONT. From the test's goroutine.
func (a *App) Resume() {
	if a.dead.Load() {
		return
	}
	a.l.Note("%s goes on", a.Name)
	a.job.checker.ProcessContinued(a.Name)
	a.host.goOn()
}

// Stop ends the process as SIGTERM does, and returns what Run returned. To a stopped one the signal
// comes when it goes on.
func (a *App) Stop() error {
	if a.host.stopped.Load() {
		a.Resume()
	}
	a.l.Note("SIGTERM to %s", a.Name)
	a.cancel(errors.New("lab: SIGTERM"))
	return a.Wait()
}

// Exited tells that a process whose Run returned an error ends now, as a supervisor does it: what
// it left behind is gone with it.
func (l *Lab) Exited(a *App) {
	l.Note("%s exits", a.Name)
	a.die()
}

// Wait waits until Run has returned by itself, and returns its error.
func (a *App) Wait() error {
	a.l.Until(a.Name+" has ended", a.over)
	if !a.over() {
		return fmt.Errorf("lab: %s does not end", a.Name)
	}
	return a.err
}
