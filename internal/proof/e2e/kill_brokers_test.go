package e2e

import "testing"

// These tests break brokers that all tests share, so they are not parallel: they run before the
// parallel ones. No app is killed in them, so nothing may be repeated: faults 7 and 8.

func TestLeaderKilled(t *testing.T) {
	s := newScenario(t, brokers(t))
	s.kafka.CanBreak()
	sidecar, a, b := s.sidecar(), s.uppercase("app-a", nil), s.uppercase("app-b", nil)
	f := s.feed(1000)
	s.outputs(2000)
	leader := s.kafka.LeaderOf(s.output, 0)
	s.kafka.Kill(leader)
	f.more(6000) // 6 s: the election takes 3
	s.kafka.Restart(leader)
	f.more(1000)
	n := f.finish()
	s.caughtUp()
	s.terminate(a, b, sidecar)
	s.verify(n)
}

func TestCoordinatorKilled(t *testing.T) {
	s := newScenario(t, brokers(t))
	s.kafka.CanBreak()
	sidecar, a, b := s.sidecar(), s.uppercase("app-a", nil), s.uppercase("app-b", nil)
	f := s.feed(1000)
	s.outputs(2000)
	coordinator := s.kafka.GroupCoordinator(s.group)
	s.kafka.Kill(coordinator)
	f.more(6000)
	if now := s.kafka.GroupCoordinator(s.group); now == coordinator {
		t.Fatalf("broker %d coordinates though it is dead", now)
	}
	s.kafka.Restart(coordinator)
	f.more(1000)
	n := f.finish()
	s.caughtUp()
	s.terminate(a, b, sidecar)
	s.verify(n)
}
