package lab

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// sidecarProcess is one sidecar with its own network.
type sidecarProcess struct {
	host   *host
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error
	dead   atomic.Bool
	server *sidecar.Server
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
		Brokers: brokers, Options: append(l.options(p.host)[1:], kgo.Dialer(l.markBeats(p.host.dial)), kgo.WithHooks(primer)), Listener: lis, Logger: l.logger("sidecar", &p.dead), MaxBytes: 8 << 20, MaxSessions: 16,
	}
	l.transactions(&cfg)
	if l.cfg.Sidecar != nil {
		l.cfg.Sidecar(&cfg)
	}
	s, err := sidecar.New(cfg)
	if err != nil {
		l.T.Fatal(err)
	}
	primer.prime(l)
	ctx, cancel := context.WithCancelCause(context.Background())
	p.cancel, p.server = cancel, s
	go func() {
		defer close(p.ended)
		defer lis.Close()
		p.err = s.Run(ctx)
	}()
	l.sidecar = p
}

// Status of the sidecar, or nil if none runs.
func (l *Lab) Status() *sidecarpb.StatusResponse {
	if l.sidecar == nil {
		return nil
	}
	s, err := l.sidecar.server.Status(context.Background())
	if err != nil {
		l.T.Fatal(err)
	}
	return s
}

// PauseSidecar stops it as SIGSTOP does (see stop.go), ResumeSidecar lets it go on.
func (l *Lab) PauseSidecar() {
	if l.sidecar != nil {
		l.Note("stop the sidecar")
		l.sidecar.host.stop()
	}
}

// ResumeSidecar is SIGCONT.
func (l *Lab) ResumeSidecar() {
	if l.sidecar != nil {
		l.Note("the sidecar goes on")
		l.sidecar.host.goOn()
	}
}

// KillPod ends all apps and the sidecar at once, as a node does that is gone.
func (l *Lab) KillPod() {
	l.Note("kill the pod")
	l.KillSidecar()
	for _, a := range l.live() {
		a.Kill()
	}
}

// KillSidecar ends it as SIGKILL does.
func (l *Lab) KillSidecar() {
	if l.sidecar == nil {
		return
	}
	l.Note("kill the sidecar")
	l.forgotten()
	if l.sidecar.host.link(toBrokers).impaired() {
		l.lateOutputs()
	}
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

// StopSidecar ends it as SIGTERM does, and returns what Run returned. To a stopped one the signal
// comes when it goes on.
func (l *Lab) StopSidecar() error {
	p := l.sidecar
	if p == nil {
		return nil
	}
	p.host.goOn()
	l.Note("SIGTERM to the sidecar")
	l.forgotten()
	p.cancel(errors.New("lab: SIGTERM"))
	<-p.ended
	if p.err != nil {
		l.lateOutputs()
	}
	l.gone = append(l.gone, p)
	l.sidecar = nil
	return p.err
}

// forgotten tells that a sidecar ends, and that its successor does not know whose sessions it had
// closed: those of apps that stand still, or do not reach it. They may write until they hear from
// the group that their membership is over.
func (l *Lab) forgotten() {
	for _, a := range l.live() {
		if a.host.stopped.Load() || a.host.link(toSidecar).impaired() {
			a.job.checker.HasOwnWay(a.Name)
		}
	}
}

// lateOutputs tells that a sidecar ends with requests on a network that may deliver them much
// later, as a kernel does for a dead process: after the will that its successor executed.
func (l *Lab) lateOutputs() {
	for _, a := range l.live() {
		a.job.checker.HasOwnWay(a.Name)
	}
}

// CutSidecarBrokers resets the sidecar's connections to the brokers and refuses new ones, until
// HealSidecarBrokers.
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
	for _, a := range l.live() {
		a.job.checker.CutOff(a.Name, false)
		if a.host.stopped.Load() {
			a.Resume()
		}
	}
	l.ResumeSidecar()
	l.restartSidecar()
	if !l.cfg.Direct {
		l.StartSidecar()
	}
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

// SlowSidecarBrokers delays everything between them, one way by so much.
func (l *Lab) SlowSidecarBrokers(d time.Duration) {
	if l.sidecar != nil {
		l.sidecar.host.link(toBrokers).slow(d)
	}
}
