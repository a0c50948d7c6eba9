package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// coordinatorLimit is how long a killed coordinator may hold committed outputs back.
const coordinatorLimit = 15 * time.Second

// visible is how many offsets of the output topic a reader of committed records can get to.
func (s *scenario) visible() (n int64) {
	ends, err := s.kafka.Admin().ListCommittedOffsets(s.Context(), s.output)
	if err != nil {
		return -1
	}
	for _, o := range ends.Offsets()[s.output] {
		n += o.At
	}
	return n
}

// Fault 29: the end of a transaction is on its way, or done and its answer lost, when its
// coordinator is killed. The process finds out what became of it: a reader of committed records
// sees every output once, and more of them within 15 s.
func TestExactlyOnceCoordinatorKilled(t *testing.T) {
	s := newScenario(t, brokers(t))
	s.kafka.CanBreak()
	g := newGate(t)
	p := s.exactly(0, map[string]string{envProxy: g.addr(), envTxnTimeout: "15s"})
	f := s.feed(300)
	s.outputs(300)
	for _, c := range []struct {
		name string
		stop func(kmsg.Key) *held
		kill func(*held, func())
	}{
		{"before the end has arrived", g.hold, func(h *held, kill func()) { kill(); h.letGo() }},
		{"after the end, whose answer is lost", g.lose, func(h *held, kill func()) { h.deliver(t); kill() }},
	} {
		h := c.stop(kmsg.EndTxn)
		h.await(t, "nothing is committed", h.caught)
		broker := slices.Index(s.kafka.Addrs(), h.to)
		if broker < 0 {
			t.Fatalf("EndTxn went to %s, which is none of %v", h.to, s.kafka.Addrs())
		}
		var killed time.Time
		var before int64
		c.kill(h, func() {
			before = s.visible()
			s.kafka.Kill(broker)
			killed = time.Now()
		})
		s.await("committed outputs", func() error {
			if n := s.visible() - before; n < 200 {
				return fmt.Errorf("%d more", n)
			}
			return nil
		})
		took := time.Since(killed)
		t.Logf("%s: committed outputs %s after the coordinator was killed", c.name, took.Round(time.Millisecond))
		if took > coordinatorLimit {
			t.Errorf("%s: it took %s, which is more than %s", c.name, took, coordinatorLimit)
		}
		s.kafka.Restart(broker)
		f.more(300)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(p)
	s.seenOnce(n)
	s.allWhole(n)
}
