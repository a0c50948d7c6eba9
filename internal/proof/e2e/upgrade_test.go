package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/consumer"
)

// A group goes from the classic protocol to the consumer protocol and back, while members of both
// are in it, and each step is a SIGKILL: who was killed is started again in the other protocol.
// Between the steps members of the group as it is then are killed, too. Nothing is lost, nothing is
// done twice, and no partition stands still for longer than after any other death.
func TestUpgradeUnderKills(t *testing.T) {
	kafka := brokers(t)
	needs848(t, kafka)
	t.Parallel()
	s := newScenario(t, kafka)
	sidecar := s.sidecar()
	p := s.pod(3, map[string]string{envSession: longSession.String(), envTimes: "1ms", envProtocol: consumer.ClassicProtocol.String()})
	s.members(3)
	f, h := s.feed(700), s.watchHolders()
	s.outputs(1000)
	var stalls []time.Duration
	var back, after time.Time // when the last member of the consumer protocol is killed, and the next one
	for kill, next := range slices.Concat(
		slices.Repeat([]consumer.Protocol{consumer.ConsumerProtocol}, 6), // the victim is classic for three times
		slices.Repeat([]consumer.Protocol{consumer.ClassicProtocol}, 6),
	) {
		s.settled(3)
		i := kill % len(p.apps)
		victim := p.apps[i].Name
		held := h.of(victim)
		if len(held) == 0 {
			t.Fatalf("kill %d: %s has no partition", kill+1, victim)
		}
		p.env[envProtocol] = next.String()
		switch kill {
		case 8:
			back = time.Now()
		case 9:
			after = time.Now()
		}
		took := slices.Max(p.replace(i, h, held))
		t.Logf("kill %d: %s is started again in the %s protocol; its %d partitions went on after %v at most", kill+1, victim, next, len(held), took.Round(time.Millisecond))
		stalls = append(stalls, took)
	}
	s.settled(3)
	n := f.finish()
	s.caughtUp()
	wills := s.wills()
	s.terminate(p.apps...)
	s.terminate(sidecar)
	lost := s.lostAsTheGroupGoesBack(back, after)
	repeated := s.verify(n).result.Duplicated
	t.Logf("%d inputs, %d SIGKILLs from classic to mixed to 848 and back: repeated %d, longest stall %s; wills: %s", n, len(stalls), repeated, quantiles(stalls), wills)
	if repeated > 0 && lost == 0 {
		t.Errorf("%d outputs were done twice", repeated)
	}
	if p50, most := quantile(stalls, 0.5), slices.Max(stalls); p50 >= takeoverLimit || most > longSession/3 {
		t.Errorf("median %s, maximum %s: that is no takeover by a will", p50, most)
	}
}

// lostAsTheGroupGoesBack finds the members that lost what they held when their group became a
// classic one again, and has what they had done and not committed be explained by it. Kafka makes
// it one when the last member of the consumer protocol leaves, in the generation of its newest
// epoch: a classic member that has not heard of that one yet, because another has just joined, is
// told ILLEGAL_GENERATION. Here the dead one's successor may join before its will is executed.
func (s *scenario) lostAsTheGroupGoesBack(from, until time.Time) (members int) {
	s.Helper()
	const layout = "2006/01/02 15:04:05"
	for _, p := range s.procs {
		log, err := os.ReadFile(p.Log)
		if err != nil {
			s.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if len(line) < len(layout) || !strings.Contains(line, "WARN partitions lost") {
				continue
			}
			at, err := time.ParseInLocation(layout, line[:len(layout)], time.Local)
			if err != nil || at.Add(time.Second).Before(from) || at.After(until) {
				s.Errorf("%s lost its partitions, and its group did not go back then: %s", p.Name, line)
				continue
			}
			members++
			s.Logf("%s lost its partitions as its group went back to the classic protocol", p.Name)
			s.incidents = append(s.incidents, incident{what: "loss as the group goes back", name: p.Name, at: at, settled: at.Add(time.Second + inFlight)})
		}
	}
	return members
}
