package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/sessionfile"
)

// A process without a sidecar is killed four times and started again, with a StateDir and a session
// timeout of 45 s: nothing is lost, only what it had in hand is done again, and its partitions do
// not wait for the session.
func TestKilledWithAStateDir(t *testing.T) {
	for name, c := range map[string]struct {
		role string
		rate int
	}{"direct": {roleApp, 400}, "loop": {roleLoop, 20}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killedWithAStateDir(t, c.role, c.rate)
		})
	}
}

const (
	stateKills = 4
	// stateStall is far below the session timeout of 45 s, and far above what it takes where the
	// machine has nothing else to do.
	stateStall = 20 * time.Second
)

func killedWithAStateDir(t *testing.T, role string, rate int) {
	s := newScenario(t, brokers(t))
	dir := filepath.Join(s.dir, "state")
	env := map[string]string{"SIDECAR": "direct", envStateDir: dir, envSession: longSession.String(), envTimes: "1ms"}
	p := s.app("app-0", role, env)
	f := s.feed(rate)
	s.outputs(int64(2 * rate))
	var known []*sessionfile.Orphan
	for n := range stateKills {
		f.more(uint64(rate + rate*n/stateKills)) // another phase of the commit interval each time
		s.kill(p)
		known = append(known, s.lastState(dir))
		<-time.After(restartAfter)
		p = s.app(fmt.Sprint("app-", n+1), role, env)
		at := s.count()
		s.outputs(at + int64(rate))
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(p)
	e := s.gather(n)
	s.Logf("%s", e.result)
	if r := e.result; r.Lost+r.Reordered+r.Unknown+r.Corrupt+r.Split > 0 {
		s.Errorf("%s\n%s", r, r.Details())
	}
	e.checkCommits()
	for i, inc := range s.incidents {
		e.repeatsInHandOnly(i, known[i])
		stall, slowest := e.stall(inc.at)
		t.Logf("kill %d: the first output after it came %s later, that of the slowest partition %s", i+1, stall.Round(time.Millisecond), slowest.Round(time.Millisecond))
		if stall > stateStall {
			t.Errorf("kill %d: the group stood still for %s", i+1, stall)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// lastState reads a copy of what a killed process left.
func (s *scenario) lastState(dir string) *sessionfile.Orphan {
	s.Helper()
	all := s.lastStates(dir)
	if len(all) != 1 || len(all[0].Assignments) != partitions {
		s.Fatalf("%d orphans", len(all))
	}
	return all[0]
}

// lastStates reads copies of what killed processes left.
func (s *scenario) lastStates(dir string) []*sessionfile.Orphan {
	s.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		s.Fatal(err)
	}
	at := s.TempDir()
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			s.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, filepath.Base(file)), b, 0o600); err != nil {
			s.Fatal(err)
		}
	}
	d, err := sessionfile.Open(at, sessionfile.DefaultLimit)
	if err != nil {
		s.Fatal(err)
	}
	all, err := d.Orphans(func(path string, why error) { s.Errorf("%s: %v", path, why) })
	if err != nil {
		s.Fatal(err)
	}
	for _, o := range all {
		o.Keep()
	}
	return all
}

// repeatsInHandOnly holds what was done again after a kill against what the process had in hand:
// inputs whose outputs Kafka had, of which it had not heard.
func (e *evidence) repeatsInHandOnly(kill int, known *sessionfile.Orphan) {
	e.Helper()
	from, until := e.incidents[kill].at, time.Now()
	if kill+1 < len(e.incidents) {
		until = e.incidents[kill+1].at
	}
	inHand := func(partition int32, offset int64) bool {
		return heldInHand([]*sessionfile.Orphan{known}, partition, offset)
	}
	w, again := 0, 0
	for p, firsts := range e.first {
		for offset, at := range firsts {
			if inHand(p, int64(offset)) && at.Before(from.Add(restartAfter)) && !at.IsZero() {
				w++
			}
		}
	}
	for _, r := range e.repeats {
		if r.at.Before(from) || r.at.After(until) {
			continue
		}
		again++
		if !inHand(r.partition, r.offset) {
			e.Errorf("kill %d: input %d@%d was done, and was done again", kill+1, r.partition, r.offset)
		}
	}
	done, _ := e.bound(kill)
	e.Logf("kill %d: %d done again; outputs that Kafka had by the restart and that nobody had heard of: %d; done since the last commit: %d", kill+1, again, w, done)
}

// heldInHand tells that an input was in somebody's hand, by what dead processes left, and that none
// of them knew that it was done.
func heldInHand(known []*sessionfile.Orphan, partition int32, offset int64) (held bool) {
	for _, o := range known {
		for i := range o.Assignments {
			a := &o.Assignments[i]
			if a.Partition != partition {
				continue
			}
			held = true
			if offset < a.Mark || slices.ContainsFunc(a.Done, func(r donemeta.Run) bool { return r.First <= offset && offset <= r.Last }) {
				return false
			}
		}
	}
	return held
}

// stall is how long after a kill its successor's first output came, and that of the partition that
// came last.
func (e *evidence) stall(kill time.Time) (first, last time.Duration) {
	for _, firsts := range e.first {
		next := time.Time{}
		for _, at := range firsts {
			if at.After(kill.Add(restartAfter)) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		if took := next.Sub(kill); !next.IsZero() {
			if last = max(last, took); first == 0 || took < first {
				first = took
			}
		}
	}
	return first, last
}
