package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/childproc"
)

// transactional starts the pod's sidecar with a transactional id, which is the same one again when
// it is started again.
func (s *scenario) transactional() *childproc.Process {
	s.Helper()
	return s.sidecarAt(s.socket(), "--transactional-id", s.group, "--transaction-timeout", "10s")
}

// committedOnly is a reader of committed records.
func committedOnly() kgo.Opt { return kgo.FetchIsolationLevel(kgo.ReadCommitted()) }

// awaitSeen waits until the reader has seen an output that was appended at a time or later, on
// which the test decides, and returns how long after it that was.
func (h *holders) awaitSeen(what string, from time.Time, is func(partition int32, w work) bool) (took time.Duration) {
	h.s.Helper()
	h.s.await(what, func() error {
		first := time.Time{}
		for p := range int32(partitions) {
			for _, w := range h.since(p, from.Truncate(time.Millisecond)) {
				if is(p, w) && (first.IsZero() || w.seen.Before(first)) {
					first = w.seen
				}
			}
		}
		if first.IsZero() {
			return fmt.Errorf("none since %s", clock(from))
		}
		took = first.Sub(from)
		return nil
	})
	return took
}

const sidecarKills = 4

// Three apps of one group, whose inputs take 1 ms, and their sidecar, at a session timeout of 45 s.
// The sidecar and an app are killed in turn, and started again. A reader of committed records sees
// the outputs of every input once; the next sidecar's within 3 s of its start, and others' of a
// dead app's partitions within 3 s of its death.
func TestExactlyOnceSidecarKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	sidecar := s.transactional()
	p := s.pod(3, map[string]string{envMode: "exactly-once", envSession: longSession.String(), envTimes: "1ms", envPoison: "97"})
	s.members(3)
	f, h := s.feed(700), s.watchHolders(committedOnly())
	s.outputs(1000)
	var sidecars, apps []time.Duration
	for n := range sidecarKills {
		f.more(uint64(200 + 37*n)) // another phase of a transaction each time
		s.kill(sidecar)
		begun := time.Now()
		sidecar = s.transactional()
		sidecars = append(sidecars, h.awaitSeen("outputs through the next sidecar", begun, func(int32, work) bool { return true }))
		f.more(uint64(300 + 41*n))
		victim := p.apps[n%len(p.apps)]
		var held []int32
		s.await("work by "+victim.Name, func() error {
			if held = h.of(victim.Name); len(held) == 0 {
				return fmt.Errorf("it holds nothing")
			}
			return nil
		})
		died := time.Now()
		s.kill(victim)
		p.start(n % len(p.apps))
		for _, partition := range held {
			apps = append(apps, h.awaitSeen(fmt.Sprintf("others' outputs of partition %d", partition), died, func(of int32, w work) bool {
				return of == partition && w.by != victim.Name
			}))
		}
		s.members(3)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(p.apps...)
	s.terminate(sidecar)
	s.seenOnce(n)
	s.allWhole(n)
	t.Logf("from a sidecar's start to the first committed output: %v", sidecars)
	t.Logf("from an app's death to the first committed output of each of its partitions by another: %v", apps)
	if slices.Max(sidecars) > takeoverLimit || slices.Max(apps) > takeoverLimit {
		t.Errorf("it took longer than %v", takeoverLimit)
	}
}

const (
	exactlyPodKills = 3
	// podLimit is how long partitions may stand still when everything died at once: no longer than
	// at-least-once.
	podLimit = 6 * time.Second
)

// All apps and their sidecar are killed within a moment, and started again: the next sidecar ends
// the transaction and leaves the group for the dead, whom it finds in its state directory.
func TestExactlyOncePodKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	sidecar := s.transactional()
	p := s.pod(2, map[string]string{envMode: "exactly-once", envSession: longSession.String(), envTimes: "1ms"})
	s.members(2)
	f, h := s.feed(400), s.watchHolders(committedOnly())
	s.outputs(500)
	var stalls []time.Duration
	for n := range exactlyPodKills {
		f.more(uint64(200 + 37*n)) // another phase of a transaction each time
		died := time.Now()
		for _, victim := range []*childproc.Process{sidecar, p.apps[0], p.apps[1]} {
			s.kill(victim)
		}
		<-time.After(restartAfter)
		sidecar = s.transactional()
		p.start(0)
		p.start(1)
		for partition := range int32(partitions) {
			stalls = append(stalls, h.awaitSeen(fmt.Sprintf("outputs of partition %d", partition), died.Add(restartAfter), func(of int32, _ work) bool { return of == partition }))
		}
		s.members(2)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(p.apps...)
	s.terminate(sidecar)
	s.seenOnce(n)
	s.allWhole(n)
	t.Logf("from the restart to the first committed output of each partition: %v", stalls)
	if most := slices.Max(stalls); most > podLimit {
		t.Errorf("a partition stood still for %v, want %v at most at a session timeout of %v", most, podLimit, longSession)
	}
}
