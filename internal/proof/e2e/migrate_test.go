package e2e

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

// examples/migrate-franz: the loop before and after, each killed once in the middle. What a process
// handled is what it printed.
func TestMigratedLoopKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	groups := map[string]string{"before": s.kafka.Name("before"), "after": s.group}
	apps := map[string]*childproc.Process{}
	for name, group := range groups {
		apps[name] = s.start(name, build(t, name), s.env(map[string]string{"GROUP": group}))
	}
	s.members(1)
	f := s.feed(1100) // four workers of 5 ms do 800: the queues are full
	f.more(4 * 1100)
	// The auto-commit of every 5 s has just moved past what waits in the queue.
	before := s.committed(groups["before"])
	s.await("the next auto-commit", func() error {
		if s.committed(groups["before"]) == before {
			return errors.New("not yet")
		}
		return nil
	})
	for name, group := range groups {
		apps[name].Kill()
		apps[name] = s.start(name+"-again", build(t, name), s.env(map[string]string{"GROUP": group}))
	}
	f.more(1100)
	n := f.finish()
	s.caughtUp()
	s.group = groups["before"]
	s.caughtUp()
	for name := range groups {
		s.terminate(apps[name])
		lost, repeated := s.printed(name, n)
		t.Logf("%s: %d inputs, %d lost, %d handled again", name, n, lost, repeated)
		switch {
		case name == "after" && lost > 0:
			t.Errorf("the loop on Ackmark's consumer lost %d inputs", lost)
		case name == "before" && lost == 0:
			t.Error("the auto-commit loop lost nothing: this test does not see losses")
		}
	}
}

// committed is the sum of a group's committed offsets.
func (s *scenario) committed(group string) (sum int64) {
	s.Helper()
	offsets, err := s.kafka.Admin().FetchOffsets(s.Context(), group)
	if err != nil {
		s.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum
}

// printed counts what the processes of a name did not print, and what they printed again.
func (s *scenario) printed(name string, inputs uint64) (lost, repeated uint64) {
	s.Helper()
	times := make([]int, inputs)
	for _, p := range s.procs {
		if !strings.HasPrefix(p.Name, name) {
			continue
		}
		data, err := os.ReadFile(p.Log)
		if err != nil {
			s.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if id, err := verify.Parse([]byte(strings.TrimSuffix(line, "\n"))); err == nil {
				times[id.Global]++
			}
		}
	}
	for _, n := range times {
		if n == 0 {
			lost++
		} else {
			repeated += uint64(n - 1)
		}
	}
	return lost, repeated
}
