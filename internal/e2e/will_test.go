package e2e

import (
	"testing"
	"time"
)

// An app that is killed alone repeats nothing: the sidecar finishes what it received, commits it as that member and leaves the group for it. That holds as well for a
// sidecar that did not see the stays begin, because the one that did was killed.
func TestWill(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		name := "same sidecar"
		if restarted {
			name = "restarted sidecar"
		}
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, brokers(t))
			sidecar, a, b := s.sidecar(), s.uppercase("app-a", map[string]string{"WORK": "2ms"}), s.uppercase("app-b", map[string]string{"WORK": "2ms"})
			f := s.feed(800)
			s.outputs(1000)
			if restarted {
				s.kill(sidecar)
				f.more(500)
				sidecar = s.sidecar()
				f.more(2500)
			}
			killed := time.Now()
			s.kill(a)
			f.more(3000)
			n := f.finish()
			s.caughtUp()
			s.terminate(b, sidecar)
			s.verify(n)
			for _, r := range s.gather(n).repeats {
				if r.at.After(killed) {
					t.Errorf("input %d@%d was done again at %s, after app-a was killed at %s", r.partition, r.offset, r.at.Format(timeOnly), killed.Format(timeOnly))
				}
			}
		})
	}
}

const timeOnly = "15:04:05.000"
