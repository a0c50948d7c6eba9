package e2e

import (
	"slices"
	"testing"

	"github.com/ackmark/ackmark/internal/childproc"
)

// rollOver has a service go from at-least-once to exactly-once and back under load, member by
// member in one group, through one sidecar that serves both. Nothing dies: nothing is lost, and
// nothing repeated. Package lab has the simulation of it.
func rollOver(t *testing.T) {
	s := newScenario(t, brokers(t))
	sidecar := s.transactional()
	env := map[string]string{envTimes: "1ms"}
	p := &pod{scenario: s, env: env, apps: make([]*childproc.Process, 3)}
	for i := range p.apps {
		p.start(i)
	}
	s.members(3)
	f := s.feed(failureRate)
	s.outputs(failureRate)
	for _, mode := range []string{"exactly-once", ""} {
		env[envMode] = mode
		for i := range p.apps {
			s.terminate(p.apps[i])
			p.start(i)
			s.members(3)
			f.more(failureRate)
		}
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(append(slices.Clone(p.apps), sidecar)...)
	s.seenOnce(n)
}
