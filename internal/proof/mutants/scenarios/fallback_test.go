package scenarios

import (
	"time"

	"github.com/ackmark/ackmark/internal/proof/lab"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
)

// whenUnavailable goes to Kafka directly when the sidecar does not answer.
func whenUnavailable(cfg *producer.DialConfig) {
	cfg.Fallback.Mode, cfg.Fallback.After, cfg.Fallback.UnitTTL, cfg.Fallback.Return = producer.OnUnavailable, 2*time.Second, 500*time.Millisecond, 5*time.Second
}

// patient leaves the app in its group for as long as the scenario takes.
func patient(cfg *sidecar.Config) { cfg.ReconnectGrace = time.Minute }

// Two ways to Kafka, and never both at once.
var fallbacks = []scenario{
	scenario{name: "directly and back", cfg: lab.Config{App: longSession, Keys: 8}, play: func(l *lab.Lab) {
		// Told to, by turns, with outputs on their way each time. Nothing dies.
		a := l.StartApp("a")
		l.Sleep(5 * time.Second)
		l.FeedOver(2400, 36*time.Second)
		for range 6 {
			a.Fallback(producer.Forced)
			l.Sleep(2 * time.Second)
			a.SlowBrokers(200 * time.Millisecond)
			l.Sleep(time.Second)
			a.Fallback(producer.Off)
			l.Sleep(2 * time.Second)
			a.SlowBrokers(0)
			l.SlowSidecarBrokers(200 * time.Millisecond)
			l.Sleep(time.Second)
			l.SlowSidecarBrokers(0)
		}
	}}.inOrder(),
	{name: "directly, and what was sent arrives late", cfg: lab.Config{App: longSession, Sidecar: patient, Dial: whenUnavailable, Keys: 8}, play: func(l *lab.Lab) {
		// The connection is slow, and no answer gets through. The time of its units is over when
		// the sidecar gets them.
		a := l.StartApp("a")
		l.Sleep(5 * time.Second)
		a.SlowSidecar(1500 * time.Millisecond)
		l.FeedOver(200, time.Second)
		l.Sleep(time.Second)
		a.HalfOpenSidecar(false)
		l.Sleep(30 * time.Second)
		if !a.FallbackStats().Active {
			l.T.Error("the app does not go directly")
		}
		a.HealSidecar()
		a.SlowSidecar(0)
		l.Sleep(10 * time.Second)
	}},
}
