package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/boottime"
	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/sentinel"
)

// Lab is a pod in a bubble. Its methods are for the test's goroutine, unless they say otherwise.
type Lab struct {
	T       *testing.T
	Rand    *rand.Rand
	Cluster *kfake.Cluster
	Checker *verify.Checker // of the first group

	cfg   Config
	net   *network
	jobs  []*job // by group
	log   *journal
	begun time.Time

	feeder  *feeder
	apps    []*App
	sidecar *sidecarProcess
	gone    []*sidecarProcess
	hosts   []*host
	faults  []fault  // under mu
	seen    sync.Map // for FirstTime

	mu       sync.Mutex
	problems []string
	shared   time.Duration // session of the group's members, see shareSession
	timeouts int           // given away, see nextTimeout
}

// Run builds a pod in a bubble of virtual time and calls fn in it. Then it heals everything, waits
// until the group is at the end of the input, stops apps and sidecar in the order that Kubernetes
// does, and checks. A failure prints the seed, the command that replays it, and the last log lines.
func Run(t *testing.T, cfg Config, fn func(l *Lab)) *Result {
	t.Helper()
	cfg = cfg.withDefaults()
	var running atomic.Pointer[Lab]
	defer watchdog(t, cfg.Seed, &running)()
	result := &Result{Seed: cfg.Seed}
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		defer boottime.Replace(func() uint64 { return uint64(time.Hour + time.Since(begun)) })() // units expire in virtual time
		l := newLab(t, cfg)
		running.Store(l)
		defer l.end(result)
		l.start()
		fn(l)
		l.finish()
	})
	return result
}

// realTime is how long a lab may take. It ends what synctest cannot: a bubble that waits for a
// mutex, or spins.
const realTime = 5 * time.Minute

func watchdog(t *testing.T, seed uint64, running *atomic.Pointer[Lab]) (stop func()) {
	name := t.Name()
	timer := time.AfterFunc(realTime, func() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		var log string
		if l := running.Load(); l != nil {
			log = l.log.String()
		}
		panic(fmt.Sprintf("%s, seed %d: no end after %v of real time: a lock held across the network, or a busy loop\n%s\n%s", name, seed, realTime, log, stacks))
	})
	return func() { timer.Stop() }
}

func newLab(t *testing.T, cfg Config) *Lab {
	sentinel.CheckEverything()
	l := &Lab{
		T: t, cfg: cfg, net: newNetwork(), log: newJournal(), begun: time.Now(),
		Rand: rand.New(rand.NewPCG(cfg.Seed, 0xac4)),
	}
	for n := range cfg.Groups {
		l.jobs = append(l.jobs, l.newJob(n))
	}
	l.Checker = l.jobs[0].checker
	return l
}

// start starts the brokers, the feeder and the sidecar.
func (l *Lab) start() {
	cfg, t := l.cfg, l.T
	opts := []kfake.Opt{
		kfake.NumBrokers(3), kfake.Ports(9092, 9093, 9094), kfake.ListenFn(l.host("brokers").listen),
		kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(cfg.Partitions, In),
	}
	for _, j := range l.jobs {
		opts = append(opts, kfake.SeedTopics(cfg.Partitions, j.out))
		if cfg.DeadLetter {
			opts = append(opts, kfake.SeedTopics(1, j.dead))
		}
	}
	cluster, err := kfake.NewCluster(append(opts, cfg.Broker...)...)
	if err != nil {
		t.Fatal(err)
	}
	l.Cluster = cluster
	pace(cluster)
	devbroker.Validate(cluster, devbroker.ByDefault)
	l.logGroup()
	for _, j := range l.jobs {
		j.begin()
	}
	if cfg.ExactlyOnce {
		devbroker.ValidateTransactions(cluster, l.options(l.host("fencing"))...)
	}
	l.feeder = newFeeder(l)
	if !cfg.Direct {
		l.StartSidecar()
	}
}

func (l *Lab) host(name string) *host {
	h := l.net.host(name)
	l.hosts = append(l.hosts, h)
	return h
}

// problem notes what is wrong beside the checker's violations. From any goroutine.
func (l *Lab) problem(format string, args ...any) {
	l.log.printf("PROBLEM "+format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, fmt.Sprintf(format, args...))
}

// Note writes a line into what a failure shows.
func (l *Lab) Note(format string, args ...any) { l.log.printf("— "+format, args...) }

// finish is the good end.
func (l *Lab) finish() {
	l.Heal()
	for n := range l.jobs {
		if !slices.ContainsFunc(l.live(), func(a *App) bool { return a.as.Group == n }) {
			l.StartAppAs("last", AppConfig{Group: n})
		}
	}
	if !l.cfg.Unfinished {
		l.Idle()
	}
	for _, a := range l.live() {
		ousted := a.job.stays.ousted(a)
		if err := a.Stop(); err != nil && !(ousted && isOnlyUncommitted(err)) {
			l.problem("%s ended with: %v", a.Name, err)
		}
	}
	if l.sidecar != nil {
		if err := l.StopSidecar(); err != nil {
			l.problem("the sidecar ended with: %v", err)
		}
	}
	l.Sleep(l.transactionsEnd())
	for _, j := range l.jobs {
		j.finish()
	}
}

// isOnlyUncommitted tells that the last commit failed and nothing else did.
func isOnlyUncommitted(err error) bool {
	u, ok := errors.AsType[*consumer.UncommittedError](err)
	return ok && err.Error() == u.Error()
}

// end takes everything down, however the test went, and reports.
func (l *Lab) end(result *Result) {
	for _, a := range l.apps {
		a.kill()
	}
	if l.sidecar != nil {
		l.sidecar.kill()
		l.gone = append(l.gone, l.sidecar)
	}
	if l.feeder != nil {
		l.feeder.close()
		for _, j := range l.jobs {
			j.reaper.close()
		}
	}
	for _, a := range l.apps {
		<-a.ended
	}
	for _, s := range l.gone {
		s.kill() // one that was replaced may run
		<-s.ended
	}
	result.Virtual = time.Since(l.begun)
	if l.Cluster != nil {
		l.Cluster.Close()
	}
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.sentinels()
	for _, j := range l.jobs {
		result.Violations = append(result.Violations, j.checker.Violations()...)
	}
	result.Violations, result.Problems = append(result.Violations, found...), l.problems
	result.Counts, result.Summary = l.Checker.Counts(), l.Checker.Summary()
	if logLevel() == slog.LevelDebug {
		fmt.Fprintln(os.Stderr, l.log)
	}
	if !l.cfg.AllowViolations {
		l.report(found)
	}
}

func (l *Lab) report(found []verify.Violation) {
	l.T.Helper()
	for _, v := range found {
		l.T.Error(v)
	}
	for _, j := range l.jobs {
		if err := j.checker.Err(); err != nil {
			l.T.Error(err)
		}
	}
	for _, p := range l.problems {
		l.T.Error(p)
	}
	if !l.T.Failed() {
		l.T.Logf("seed %d, %s, %v of virtual time, %s", l.cfg.Seed, l.cfg.Protocol, time.Since(l.begun).Round(time.Millisecond), l.Checker.Summary())
		return
	}
	name := "^" + strings.ReplaceAll(l.T.Name(), "/", "$/^") + "$"
	l.T.Logf("%s%s\nseed %d; replay: ACKMARK_PROTOCOL=%s ACKMARK_SEED=%d go test ./internal/proof/lab -run '%s'",
		l.log.String(), l.Checker.Summary(), l.cfg.Seed, l.cfg.Protocol, l.cfg.Seed, name)
}

// Sleep lets virtual time pass.
func (l *Lab) Sleep(d time.Duration) { time.Sleep(d) }

// SleepUpTo lets a random time pass.
func (l *Lab) SleepUpTo(d time.Duration) { l.Sleep(time.Duration(l.Rand.Int64N(int64(d)))) }

// Err returns what the checker found so far.
func (l *Lab) Err() error {
	var errs []error
	for _, j := range l.jobs {
		j.watch.Settle()
		errs = append(errs, j.checker.Err())
	}
	return errors.Join(errs...)
}

// Until waits, in virtual time, until something is true; after Config.Patience that is a problem,
// and false.
func (l *Lab) Until(what string, ok func() bool) bool {
	for deadline := time.Now().Add(l.cfg.Patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.problem("still not after %v: %s", l.cfg.Patience, what)
			return false
		}
	}
	return true
}

// Lag is how many offsets of the input the groups have not committed.
func (l *Lab) Lag() (lag int64) {
	for _, j := range l.jobs {
		lag += j.lag()
	}
	return lag
}

// Idle waits until everything is fed and the group has committed the end of every partition. A
// sidecar that ends by itself meanwhile is started again, as its supervisor would.
func (l *Lab) Idle() bool {
	l.feeder.wait()
	if l.Until("lag 0", func() bool { l.restartSidecar(); return l.Lag() == 0 }) {
		return true
	}
	for _, a := range l.live() {
		l.Note("%s: %+v", a.Name, a.State())
	}
	return false
}

// live lists the apps that run.
func (l *Lab) live() []*App {
	return slices.DeleteFunc(slices.Clone(l.apps), func(a *App) bool { return a.dead.Load() || a.over() })
}

// Apps lists the apps that run.
func (l *Lab) Apps() []*App { return l.live() }

// logger of a process. What it writes after its end helps nobody.
func (l *Lab) logger(process string, dead *atomic.Bool) *slog.Logger {
	return slog.New(slog.NewTextHandler(whileAlive{dead, l.log}, &slog.HandlerOptions{Level: logLevel(), ReplaceAttr: l.sinceBegin})).With("p", process)
}

// sinceBegin shows virtual time as the journal does.
func (l *Lab) sinceBegin(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Duration("t", time.Since(l.begun))
	}
	return a
}

func (l *Lab) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), l.cfg.Patience)
}
