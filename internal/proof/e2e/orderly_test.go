package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/childproc"
)

// In these tests everything ends in order (faults 20 and 26): no input that was
// done in order is done again.

// The main way: a pod of two apps and a sidecar works, is terminated under load as Kubernetes does
// it (the apps first, together; the sidecar when they have ended), and a new pod goes on.
func TestPodReplaced(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	f := s.feed(1000)
	for range 2 {
		before := s.count()
		sidecar, a, b := s.sidecar(), s.uppercase("app-a", nil), s.uppercase("app-b", nil)
		s.members(2)
		s.outputs(before + 2000)
		for _, p := range []*childproc.Process{a, b} {
			if err := p.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		s.exits(a, 0)
		s.exits(b, 0)
		s.terminate(sidecar)
	}
	n := f.finish()
	sidecar, a := s.sidecar(), s.uppercase("app-c", nil)
	s.caughtUp()
	s.terminate(a, sidecar)
	s.verify(n)
}

// One app, three, one again, under load.
func TestScaling(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	sidecar, a := s.sidecar(), s.uppercase("app-a", nil)
	f := s.feed(1000)
	s.members(1)
	s.outputs(1000)
	b, c := s.uppercase("app-b", nil), s.uppercase("app-c", nil)
	s.members(3)
	f.more(2000)
	s.terminate(b)
	s.members(2)
	s.terminate(a)
	s.members(1)
	f.more(1000)
	n := f.finish()
	s.caughtUp()
	s.terminate(c, sidecar)
	s.verify(n)
}

// SIGTERM while messages are worked on: what was begun is finished, delivered and committed, what
// waits is left, and it does not take long.
func TestTerminatedAtWork(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	work := map[string]string{"WORK": "500ms", "CONCURRENCY": "8"}
	sidecar, a := s.sidecar(), s.uppercase("app-a", work)
	s.members(1)
	f := s.feed(2000)
	s.outputs(8)
	n := f.finish()
	start := time.Now()
	s.terminate(a)
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("SIGTERM to the end took %s, for work of 500 ms", took)
	}
	left := s.count()
	if left == int64(n) {
		t.Fatalf("all %d inputs were done before SIGTERM: nothing was tested", n)
	}
	t.Logf("%d of %d done at the end of the first app", left, n)
	a = s.uppercase("app-b", nil)
	s.caughtUp()
	s.terminate(a, sidecar)
	s.verify(n)
}

// Three apps of a pod: with the sidecar the brokers have one producer's connections instead of
// three.
func TestConnections(t *testing.T) {
	t.Parallel()
	connections := map[string]int{}
	for _, mode := range []string{"sidecar", "direct"} {
		s := newScenario(t, brokers(t))
		env, pod := map[string]string{}, []*childproc.Process{}
		if mode == "direct" {
			env["SIDECAR"] = "direct"
		} else {
			pod = append(pod, s.sidecar())
		}
		for i := range 3 {
			pod = append(pod, s.uppercase(fmt.Sprintf("app-%d", i), env))
		}
		s.members(3)
		f := s.feed(500)
		s.outputs(1500)
		for _, p := range pod {
			n := s.connections(p)
			t.Logf("%s: %s has %d connections to brokers", mode, p.Name, n)
			connections[mode] += n
		}
		n := f.finish()
		s.caughtUp()
		for i := len(pod) - 1; i >= 0; i-- {
			s.terminate(pod[i])
		}
		s.verify(n)
	}
	t.Logf("connections of the pod to three brokers: %d with the sidecar, %d with producers of their own", connections["sidecar"], connections["direct"])
	if connections["sidecar"] >= connections["direct"] {
		t.Error("the sidecar saved no connection")
	}
}
