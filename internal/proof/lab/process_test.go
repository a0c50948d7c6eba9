package lab

import (
	"testing"
	"time"
)

// both runs a test with a sidecar and with direct producers.
func both(t *testing.T, cfg Config, fn func(l *Lab)) {
	t.Run("sidecar", func(t *testing.T) { Run(t, cfg, fn) })
	cfg.Direct = true
	t.Run("direct", func(t *testing.T) { Run(t, cfg, fn) })
}

func TestMainWay(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.Settle()
		l.Feed(1000)
		l.Idle()
		if n := l.Checker.Counts(); n.Inputs != 1000 || n.Durable != 1000 || n.Duplicates > 0 || n.Incidents > 4 {
			t.Errorf("a quiet pod: %+v", n)
		}
	})
}

func TestAppKilled(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.FeedOver(1500, 30*time.Second)
		for range 3 {
			l.SleepUpTo(10 * time.Second)
			a.Kill()
			l.SleepUpTo(3 * time.Second)
			a = l.StartApp("a")
		}
	})
}

// A killed app's partitions are read on after its session, by the others.
func TestAppKilledForEver(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		a := l.StartApp("a")
		l.StartApp("b")
		l.Feed(300)
		l.Idle()
		l.Sleep(5 * time.Second) // the rebalance that b's start began is over: a death within a join is another case
		a.Kill()
		l.Feed(300)
		begun := time.Now()
		l.Idle()
		if d := time.Since(begun); d > DefaultSessionTimeout+5*time.Second {
			l.T.Errorf("caught up %v after the kill, the session timeout is %v", d, DefaultSessionTimeout)
		}
	})
}

// Without a sidecar nothing is committed that is not in Kafka; with the next one everything goes
// on.
func TestSidecarKilled(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.FeedOver(1500, 30*time.Second)
		for range 4 {
			l.SleepUpTo(8 * time.Second)
			l.KillSidecar()
			l.SleepUpTo(4 * time.Second)
			l.StartSidecar()
		}
	})
}

func TestSidecarStopped(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.StartApp("a")
		l.StartApp("b")
		l.Settle()
		l.FeedOver(1500, 20*time.Second)
		for range 3 {
			l.SleepUpTo(6 * time.Second)
			if err := l.StopSidecar(); err != nil {
				l.T.Errorf("the sidecar could deliver, and ended with: %v", err)
			}
			l.SleepUpTo(2 * time.Second)
			l.StartSidecar()
		}
		l.Idle()
		if n := l.Checker.Counts().Duplicates; n > 0 {
			l.T.Errorf("a sidecar that drains repeats nothing, but %d outputs came twice", n)
		}
	})
}

func TestPodKilled(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.FeedOver(1500, 40*time.Second)
		for range 3 {
			a, b := l.StartApp("a"), l.StartApp("b")
			l.SleepUpTo(20 * time.Second)
			a.Kill()
			l.KillSidecar()
			b.Kill()
			l.SleepUpTo(time.Second)
			l.StartSidecar()
		}
	})
}

// SIGTERM in the order of Kubernetes: the apps first, then the sidecar. Everybody ends well and in
// time, and leaves no gap.
func TestSigtermUnderLoad(t *testing.T) {
	both(t, Config{}, func(l *Lab) {
		l.FeedOver(2000, 20*time.Second)
		for range 3 {
			a, b := l.StartApp("a"), l.StartApp("b")
			l.SleepUpTo(8 * time.Second)
			begun := time.Now()
			for _, app := range []*App{a, b} {
				if err := app.Stop(); err != nil {
					l.T.Errorf("%s: %v", app.Name, err)
				}
			}
			if err := l.StopSidecar(); err != nil {
				l.T.Errorf("sidecar: %v", err)
			}
			if d := time.Since(begun); d > 5*time.Second {
				l.T.Errorf("stopping a healthy pod took %v", d)
			}
			if !l.cfg.Direct {
				l.StartSidecar()
			}
		}
	})
}

// The sidecar goes first, against the rule: the apps end with what they could not deliver, and
// nothing is lost.
func TestSigtermSidecarFirst(t *testing.T) {
	Run(t, Config{}, func(l *Lab) {
		l.FeedOver(1000, 10*time.Second)
		a := l.StartApp("a")
		l.Sleep(5 * time.Second)
		if err := l.StopSidecar(); err != nil {
			l.T.Errorf("sidecar: %v", err)
		}
		l.Sleep(time.Second)
		_ = a.Stop() // what it abandons, the next one does
		l.StartSidecar()
	})
}
