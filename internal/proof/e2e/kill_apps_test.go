package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

// app starts the test binary in a role.
func (s *scenario) app(name, role string, env map[string]string) *childproc.Process {
	s.Helper()
	all := s.env(env)
	all[roleEnv], all[envName] = role, name
	return s.start(name, os.Args[0], all)
}

// Two apps and a sidecar. One app after the other is killed under load and started again.
func TestAppKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	s.sidecar()
	apps := []*childproc.Process{s.app("app-a", roleApp, nil), s.app("app-b", roleApp, nil)}
	f := s.feed(1000)
	s.members(2)
	s.outputs(2000)
	for i, name := range []string{"app-a2", "app-b2"} {
		s.kill(apps[i])
		f.more(500)
		apps[i] = s.app(name, roleApp, nil)
		f.more(uint64(1000 * (appSession.Seconds() + 2))) // until the dead member is gone
		s.members(2)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(apps...)
	s.verify(n)
}

// The same with producers of their own.
func TestDirectAppKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	direct := map[string]string{"SIDECAR": "direct"}
	a, b := s.app("app-a", roleApp, direct), s.app("app-b", roleApp, direct)
	f := s.feed(1000)
	s.members(2)
	s.outputs(2000)
	s.kill(a)
	f.more(500)
	a = s.app("app-a2", roleApp, direct)
	f.more(uint64(1000 * (appSession.Seconds() + 2)))
	n := f.finish()
	s.caughtUp()
	s.terminate(a, b)
	s.verify(n)
}

// The example as it is: messages that take time, several at once, a kill in the middle of them. Its
// session timeout is the default of 45 s: that is how long the killed app's partitions wait here.
func TestExampleKilledAtWork(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true // the killed app's successor gets its share back from the survivor, in the middle of eight handlers' work
	sidecar := s.sidecar()
	work := map[string]string{"WORK": "20ms", "CONCURRENCY": "8"}
	a, b := s.uppercase("app-a", work), s.uppercase("app-b", work)
	s.members(2)
	f := s.feed(300)
	s.outputs(900)
	s.kill(a)
	f.more(300)
	a = s.uppercase("app-a2", work)
	f.more(600)
	n := f.finish()
	s.caughtUp()
	s.terminate(a, b, sidecar)
	s.verify(n)
}

// The sidecar is killed twice; the apps go on reading while it is away, connect again, and send
// again what was not reported.
func TestSidecarKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	sidecar, a, b := s.sidecar(), s.uppercase("app-a", nil), s.uppercase("app-b", nil)
	f := s.feed(1000)
	s.outputs(2000)
	for range 2 {
		s.kill(sidecar)
		f.more(1500)
		sidecar = s.sidecar()
		before := s.count()
		f.more(2000)
		s.outputs(before + 1000)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(a, b, sidecar)
	s.verify(n)
}

// One app is killed and started again, and while the group waits for the dead member's session to
// end, the other app gets SIGTERM. It cannot commit before the rebalance is over, and must not wait
// longer than that.
func TestSurvivorTerminated(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	s.sidecar()
	a, b := s.app("app-a", roleApp, nil), s.app("app-b", roleApp, nil)
	f := s.feed(1000)
	s.members(2)
	s.outputs(2000)
	s.kill(a)
	a = s.app("app-a2", roleApp, nil)
	s.state("PreparingRebalance")
	start := time.Now()
	s.terminate(b)
	took := time.Since(start)
	t.Logf("SIGTERM during a pending rebalance: ended after %s", took.Round(time.Millisecond))
	if took > appSession+4*time.Second {
		t.Errorf("that is longer than the dead member's session of %s", appSession)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(a)
	s.verify(n)
}
