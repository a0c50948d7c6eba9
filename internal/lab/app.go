package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/verify"
	"github.com/ackmark/ackmark/internal/verify/brokerwatch"
	"github.com/ackmark/ackmark/internal/verify/spy"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// App is one app process: a pipeline with its own network.
type App struct {
	Name     string // unique in its lab
	Pipeline *pipeline.Pipeline

	l      *Lab
	host   *host
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error
	dead   atomic.Bool // killed: whatever it does reaches nobody
	dials  atomic.Int32
}

// StartApp starts a process. A name that was there before gets a number: a restarted process is another one.
func (l *Lab) StartApp(name string) *App {
	for n, taken := 2, name; l.named(name); n++ {
		name = fmt.Sprintf("%s-%d", taken, n)
	}
	a := &App{Name: name, l: l, host: l.host(name), ended: make(chan struct{})}
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
			Brokers: brokers, Group: Group, Topics: []string{In},
			Options:        append(l.options(a.host), kgo.WithHooks(a.commitHook())),
			SessionTimeout: DefaultSessionTimeout, MaxRecords: 2000, MaxBytes: 8 << 20,
			Hooks: consumer.Hooks{
				Assigned: func(_ context.Context, _ consumer.Membership, added []*consumer.Assignment) { l.stays.begin(a, added) },
				Revoking: func(_ context.Context, leaving []*consumer.Assignment) { l.stays.letGo(a, leaving) },
			},
		},
		Handler: pipeline.HandlerFunc(a.handle), Order: l.cfg.Order, Concurrency: l.cfg.Concurrency, Logger: log,
	}
	if l.cfg.DeadLetter {
		cfg.DeadLetter.Topic = DeadLetter
	}
	if l.cfg.Direct {
		cfg.Producer = a.direct(producer.DirectConfig{Brokers: brokers, Options: l.options(a.host), Logger: log})
	} else {
		cfg.Producer = producer.DialConfig{Target: "sidecar", App: "lab", SessionID: a.Name, Dialer: a.dialSidecar, Logger: log}.New()
	}
	if l.cfg.App != nil {
		l.cfg.App(&cfg)
	}
	cfg.Producer = &gate{spy.New(cfg.Producer, l.Checker, a.Name), a}
	return cfg
}

// direct makes a producer of the app's own, connected and with its producer id.
func (a *App) direct(cfg producer.DirectConfig) producer.Producer {
	primer := new(primer)
	cfg.Options = append(cfg.Options, kgo.WithHooks(primer))
	p := producer.Direct(cfg)
	ctx, cancel := a.l.context()
	defer cancel()
	if err := p.Check(ctx); err != nil {
		a.l.T.Fatalf("app %s: %v", a.Name, err)
	}
	primer.prime(a.l)
	return p
}

// errKilled ends what a killed process still does.
var errKilled = errors.New("lab: the process was killed")

// handle is the handler of every app: it tells the checker, takes its time, and calls the test's.
func (a *App) handle(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
	if a.dead.Load() {
		return nil, pipeline.Fatal(errKilled)
	}
	p := verify.Partition{Topic: in.Topic, Partition: in.Partition}
	a.l.Checker.HandedOut(p, in.Offset, in.Value)
	a.l.stays.handedOut(a, p, in.Assignment().Epoch, in.Value)
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
	if a.dead.Load() {
		return nil, pipeline.Fatal(errKilled)
	}
	return out, err
}

// gate keeps a killed process from delivering.
type gate struct {
	producer.Producer
	a *App
}

// Deliver implements producer.Producer.
func (g *gate) Deliver(ctx context.Context, units []producer.Unit, r producer.Reporter) error {
	if g.a.dead.Load() {
		return producer.ErrClosed
	}
	return g.Producer.Deliver(ctx, units, r)
}

// Assign implements producer.Producer.
func (g *gate) Assign(ctx context.Context, m producer.Membership, added []producer.Assignment) error {
	if g.a.dead.Load() {
		return producer.ErrClosed
	}
	return g.Producer.Assign(ctx, m, added)
}

// commitHook tells the checker about commits in flight, as long as the process lives: a kill cancels what it cancels.
func (a *App) commitHook() kgo.Hook {
	return &commitHook{brokerwatch.InFlight(a.l.Checker, a.Name).(commitObserver), a}
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

// dialSidecar is the producer's dialer. Every connection after the first may bring units again that the sidecar had.
func (a *App) dialSidecar(ctx context.Context) (net.Conn, error) {
	c, err := a.host.dial(ctx, "", "localhost:"+sidecarPort)
	if err == nil && a.dials.Add(1) > 1 && !a.dead.Load() {
		a.l.stays.reconnected(a)
	}
	return c, err
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

// Kill ends the process as SIGKILL does: what it has written still arrives, then its connections end. From now on whatever it does
// reaches nobody.
func (a *App) Kill() {
	a.l.Note("kill %s", a.Name)
	a.kill()
}

func (a *App) kill() {
	if a.over() || a.dead.Swap(true) {
		return
	}
	a.host.kill()
	a.l.Checker.ProcessGone(a.Name)
	a.cancel(errKilled)
}

// Stop ends the process as SIGTERM does, and returns what Run returned.
func (a *App) Stop() error {
	a.l.Note("stop %s", a.Name)
	a.cancel(errors.New("lab: SIGTERM"))
	return a.Wait()
}

// Exited tells that a process whose Run returned an error ends now, as a supervisor does it: what it left behind is gone with it.
func (l *Lab) Exited(a *App) {
	l.Note("%s exits", a.Name)
	a.dead.Store(true)
	a.host.kill()
	l.Checker.ProcessGone(a.Name)
}

// Wait waits until Run has returned by itself, and returns its error.
func (a *App) Wait() error {
	a.l.Until(a.Name+" has ended", a.over)
	if !a.over() {
		return fmt.Errorf("lab: %s does not end", a.Name)
	}
	return a.err
}

// CutBrokers resets the app's connections to the brokers and refuses new ones, until HealBrokers.
func (a *App) CutBrokers() {
	a.l.Note("cut %s from the brokers", a.Name)
	a.host.link(toBrokers).cut()
}

// BlackholeBrokers loses whatever passes between app and brokers, until HealBrokers: it arrives then, where the connection still stands.
func (a *App) BlackholeBrokers() {
	a.l.Note("blackhole between %s and the brokers", a.Name)
	a.host.link(toBrokers).blackhole(true, true)
}

// HealBrokers makes that link a good one.
func (a *App) HealBrokers() {
	a.l.Note("heal %s–brokers", a.Name)
	a.host.link(toBrokers).heal()
}

// CutSidecar resets the app's connection to the sidecar and refuses new ones, until HealSidecar.
func (a *App) CutSidecar() {
	a.l.Note("cut %s from the sidecar", a.Name)
	a.host.link(toSidecar).cut()
}

// BlackholeSidecar loses whatever passes between app and sidecar, until HealSidecar.
func (a *App) BlackholeSidecar() {
	a.l.Note("blackhole between %s and the sidecar", a.Name)
	a.host.link(toSidecar).blackhole(true, true)
}

// HalfOpenSidecar loses one direction: what the app sends, or what the sidecar answers.
func (a *App) HalfOpenSidecar(up bool) {
	a.l.Note("half-open between %s and the sidecar (up=%v)", a.Name, up)
	a.host.link(toSidecar).blackhole(up, !up)
}

// SlowBrokers and SlowSidecar delay everything on a link, one way by so much.
func (a *App) SlowBrokers(d time.Duration) { a.host.link(toBrokers).slow(d) }

// SlowSidecar is SlowBrokers for the other link.
func (a *App) SlowSidecar(d time.Duration) { a.host.link(toSidecar).slow(d) }

// HealSidecar makes that link a good one.
func (a *App) HealSidecar() {
	a.l.Note("heal %s–sidecar", a.Name)
	a.host.link(toSidecar).heal()
}
