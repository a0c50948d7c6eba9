package lab

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/sidecar"
)

// sidecarProcess is one sidecar with its own network.
type sidecarProcess struct {
	host   *host
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error
	dead   atomic.Bool
}

// StartSidecar starts a sidecar, if none runs.
func (l *Lab) StartSidecar() {
	if l.sidecar != nil {
		return
	}
	l.Note("start the sidecar")
	p := &sidecarProcess{host: l.host("sidecar"), ended: make(chan struct{})}
	lis, err := p.host.listen("", "localhost:"+sidecarPort)
	if err != nil {
		l.T.Fatal(err)
	}
	primer := new(primer)
	cfg := sidecar.Config{
		Brokers: brokers, Options: append(l.options(p.host)[1:], kgo.WithHooks(primer)), Listener: lis, Logger: l.logger("sidecar", &p.dead), MaxBytes: 8 << 20, MaxSessions: 16,
	}
	if l.cfg.Sidecar != nil {
		l.cfg.Sidecar(&cfg)
	}
	s, err := sidecar.New(cfg)
	if err != nil {
		l.T.Fatal(err)
	}
	primer.prime(l)
	ctx, cancel := context.WithCancelCause(context.Background())
	p.cancel = cancel
	go func() {
		defer close(p.ended)
		defer lis.Close()
		p.err = s.Run(ctx)
	}()
	l.sidecar = p
}

// KillSidecar ends it as SIGKILL does.
func (l *Lab) KillSidecar() {
	if l.sidecar == nil {
		return
	}
	l.Note("kill the sidecar")
	l.sidecar.kill()
	l.gone = append(l.gone, l.sidecar)
	l.sidecar = nil
}

func (p *sidecarProcess) kill() {
	if ln := p.host.net.listener(sidecarPort); ln != nil && ln.host == p.host {
		_ = ln.Close()
	}
	p.dead.Store(true)
	p.host.kill()
	p.cancel(errKilled)
}

// StopSidecar ends it as SIGTERM does, and returns what Run returned.
func (l *Lab) StopSidecar() error {
	p := l.sidecar
	if p == nil {
		return nil
	}
	l.Note("stop the sidecar")
	p.cancel(errors.New("lab: SIGTERM"))
	<-p.ended
	l.sidecar = nil
	return p.err
}

// CutSidecarBrokers resets the sidecar's connections to the brokers and refuses new ones, until HealSidecarBrokers.
func (l *Lab) CutSidecarBrokers() {
	if l.sidecar != nil {
		l.Note("cut the sidecar from the brokers")
		l.sidecar.host.link(toBrokers).cut()
	}
}

// BlackholeSidecarBrokers loses whatever passes between them.
func (l *Lab) BlackholeSidecarBrokers() {
	if l.sidecar != nil {
		l.Note("blackhole between the sidecar and the brokers")
		l.sidecar.host.link(toBrokers).blackhole(true, true)
	}
}

// HealSidecarBrokers makes that link a good one.
func (l *Lab) HealSidecarBrokers() {
	if l.sidecar != nil {
		l.Note("heal sidecar–brokers")
		l.sidecar.host.link(toBrokers).heal()
	}
}

// Heal makes every link a good one, removes all faults, and starts a sidecar if none runs.
func (l *Lab) Heal() {
	l.Note("heal everything")
	l.mu.Lock()
	faults := l.faults
	l.faults = nil
	l.mu.Unlock()
	for _, f := range faults {
		f.Remove()
	}
	for _, h := range l.hosts {
		h.heal()
	}
	if !l.cfg.Direct {
		l.StartSidecar()
	}
}

// Fault installs faults in the brokers, until Heal or their count is used up.
func (l *Lab) Fault(f kfake.Fault) *kfake.FaultHandle {
	l.Note("fault %v on %v (topic %q, group %q), %d times", f.Err, f.Keys, f.Topic, f.Group, f.Count)
	h := l.Cluster.Fault(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	expels := slices.Contains(f.Keys, kmsg.Heartbeat) // who is told so commits nothing any more, also when the fault is over
	commits := f.Keys == nil || expels || slices.Contains(f.Keys, kmsg.OffsetCommit)
	l.faults = append(l.faults, fault{h, max(f.Count, 0), f.Count < 0 || expels, commits})
	return h
}

// fault is one that was installed.
type fault struct {
	*kfake.FaultHandle
	count   int
	forever bool
	commits bool // it concerns commits
}

// commitsFail tells whether a last commit may fail because a fault is waiting for it. From any goroutine.
func (l *Lab) commitsFail() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.faults, func(f fault) bool { return f.commits && (f.forever || f.Hits() < f.count) })
}

// MoveLeaders elects a new leader for each partition.
func (l *Lab) MoveLeaders() {
	l.Note("move the leaders")
	l.Cluster.ShufflePartitionLeaders()
}

// MoveCoordinator moves the group's coordinator.
func (l *Lab) MoveCoordinator() {
	l.Note("move the coordinator")
	l.Cluster.RehashCoordinators()
}

// AddPartitions adds partitions to the input topic. Keys move with it, so call Idle before and after, or the order of their inputs is nobody's.
func (l *Lab) AddPartitions(n int) {
	l.Note("add %d partitions", n)
	cl := l.Client("admin")
	defer cl.Close()
	ctx, cancel := l.context()
	defer cancel()
	r, err := kadm.NewClient(cl).CreatePartitions(ctx, n, In)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		l.T.Fatal(err)
	}
	l.Sleep(2 * feederMetadata)
}

// SlowSidecarBrokers delays everything between them, one way by so much.
func (l *Lab) SlowSidecarBrokers(d time.Duration) {
	if l.sidecar != nil {
		l.sidecar.host.link(toBrokers).slow(d)
	}
}
