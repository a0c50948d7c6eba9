package e2e

import (
	"os/exec"
	"testing"
	"time"
)

// An app that is killed alone repeats nothing: the sidecar finishes what it received, commits it as
// that member and leaves the group for it. That holds as well for a sidecar that did not see the
// stays begin, because the one that did was killed.
func TestWill(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		name := "same sidecar"
		if restarted {
			name = "restarted sidecar"
		}
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, brokers(t))
			env := map[string]string{"WORK": "2ms", "SOURCE_HEADERS": "1"}
			sidecar, a, b := s.sidecar(), s.uppercase("app-a", env), s.uppercase("app-b", env)
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
			s.audit(!restarted)
			s.verify(n)
			for _, r := range s.gather(n).repeats {
				if r.at.After(killed) {
					t.Errorf("input %d@%d was done again at %s, after app-a was killed at %s", r.partition, r.offset, r.at.Format(timeOnly), killed.Format(timeOnly))
				}
			}
		})
	}
}

// audit asks `ackmark audit` for its opinion; strict: nothing is repeated either.
func (s *scenario) audit(strict bool) {
	s.Helper()
	args := []string{"audit", "--brokers", s.kafka.Brokers(), "--group", s.group, "--output", s.output}
	if strict {
		args = append(args, "--strict")
	}
	out, err := exec.CommandContext(s.Context(), build(s.T, "ackmark"), args...).CombinedOutput()
	if err != nil {
		s.Errorf("ackmark audit: %v\n%s", err, out)
	}
}

const timeOnly = "15:04:05.000"
