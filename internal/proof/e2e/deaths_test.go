package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/childproc"
)

// working is the environment of apps with the default session timeout.
var working = map[string]string{envTimes: "1ms", envSession: longSession.String()}

func with(env map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for k, v := range env {
		all[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// An app is stopped for longer than the sidecar's keepalive and grace, and woken: others have its
// partitions by then. Its late units are refused, it joins the group as a new member, and works
// again.
func TestSigstop(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	sidecar := s.sidecar()
	a, b := s.app("app-a", roleApp, working), s.app("app-b", roleApp, working)
	f, h := s.feed(500), s.watchHolders()
	s.settled(2)
	s.outputs(s.count() + 1000)
	held, stopped := h.of(a.Name), time.Now()
	s.incidents = append(s.incidents, incident{what: "SIGSTOP of app-a", name: a.Name, at: stopped})
	if err := a.Pause(); err != nil {
		t.Fatal(err)
	}
	took := h.awaitTaken(held, a.Name, stopped)
	time.Sleep(time.Until(stopped.Add(16 * time.Second)))
	before := s.wills()
	if err := a.Resume(); err != nil {
		t.Fatal(err)
	}
	woken := time.Now()
	s.await("the woken app to be fenced and to work again", func() error {
		if w := s.wills(); w.GetFenced() == before.GetFenced() {
			return fmt.Errorf("not fenced: %s", w)
		}
		for p := range int32(partitions) {
			if slices.ContainsFunc(h.since(p, woken.Add(2*time.Second)), func(w work) bool { return w.by == a.Name }) {
				return nil
			}
		}
		return errors.New("no output of it")
	})
	s.settled(2)
	n := f.finish()
	s.caughtUp()
	t.Logf("its partitions stood still for %s; wills: %s", quantiles(took), s.wills())
	s.terminate(a, b, sidecar)
	e := s.verify(n)
	done, unacked := e.bound(0)
	t.Logf("duplicated %d; W = %d received and not acknowledged when it was stopped, C = %d done since the last commit", e.result.Duplicated, unacked, done)
	for p := range int32(partitions) {
		for _, w := range e.works[p] {
			if w.by == a.Name && w.at.After(stopped.Add(inFlight)) && w.at.Before(woken) {
				t.Errorf("partition %d: an output of the stopped app at %s, it slept from %s to %s", p, clock(w.at), clock(stopped), clock(woken))
			}
		}
	}
	if e.result.Duplicated > 0 {
		t.Errorf("%d outputs were done twice: the sidecar lived and had what the stopped app had delivered", e.result.Duplicated)
	}
}

// App and sidecar are killed together: what was on its way is done again, and not more, however
// long the last commit was ago. The next sidecar finds in the state directory what was
// acknowledged. The table is by commit interval, which without a state directory is the cost.
func TestPodDeath(t *testing.T) {
	intervals := []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second}
	rows := make([]string, len(intervals))
	t.Run("every", func(t *testing.T) {
		for i, every := range intervals {
			t.Run(every.String(), func(t *testing.T) {
				t.Parallel()
				rows[i] = podDeath(t, every)
			})
		}
	})
	t.Logf("app and sidecar killed together, %d times each, at %d inputs a second:\n| CommitEvery | duplicated: mean | most | bound W + C of that death: mean | most | lost |\n|---|---|---|---|---|---|\n%s",
		podDeaths, podRate, strings.Join(rows, "\n"))
}

const (
	podDeaths = 3
	podRate   = 400
)

func podDeath(t *testing.T, every time.Duration) (row string) {
	s := newScenario(t, brokers(t))
	s.every = every
	env := map[string]string{envCommit: every.String(), envTimes: "1ms", envSession: longSession.String()}
	sidecar, p := s.sidecar(), s.pod(1, env)
	f := s.feed(podRate)
	var heirs []string
	for n := range podDeaths {
		s.caughtNearlyUp(f)
		f.more(uint64(float64(podRate) * (every.Seconds()*0.33*float64(n+1) + 0.5))) // another phase of the interval each time
		app := p.apps[0]
		s.incidents = append(s.incidents, incident{what: fmt.Sprintf("SIGKILL of the pod %d", n+1), name: app.Name, at: time.Now(), all: true})
		var dying sync.WaitGroup
		for _, victim := range []*childproc.Process{app, sidecar} {
			dying.Go(victim.Kill)
		}
		dying.Wait()
		time.Sleep(restartAfter)
		sidecar = s.sidecar()
		p.start(0)
		heirs = append(heirs, p.apps[0].Name)
	}
	n := f.finish()
	s.caughtUp()
	s.terminate(p.apps[0], sidecar)
	e := s.verify(n)
	var repeated, bounds []int
	for i, inc := range s.incidents {
		end := time.Now()
		if i+1 < len(s.incidents) {
			end = s.incidents[i+1].at
		}
		again := 0
		for _, r := range e.repeats {
			if r.at.After(inc.at) && r.at.Before(end) {
				again++
			}
		}
		done, unacked := e.bound(i)
		w := e.onTheWay(i)
		stall := e.goesOn(inc.at, heirs[i])
		t.Logf("CommitEvery %s, death %d: duplicated %d, W = %d, of W + C = %d; the last partition went on after %s", every, i+1, again, w, unacked+done, stall)
		if stall > longSession/2 {
			t.Errorf("a partition went on after %s: nobody left the group for the dead member", stall)
		}
		if again > w {
			t.Errorf("%d duplicated, %d were on their way: what was acknowledged is done again", again, w)
		}
		repeated, bounds = append(repeated, again), append(bounds, done+unacked)
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d |", every, mean(repeated), slices.Max(repeated), mean(bounds), slices.Max(bounds), e.result.Lost)
}

// goesOn is when the last partition went on with a process, after a moment.
func (e *evidence) goesOn(from time.Time, with string) (last time.Duration) {
	for _, works := range e.works {
		for _, w := range works {
			if w.by == with {
				last = max(last, w.at.Sub(from))
				break
			}
		}
	}
	return last
}

func mean(all []int) (m int) {
	for _, n := range all {
		m += n
	}
	return m / len(all)
}

// caughtNearlyUp waits until no backlog is left: a death in it would measure the speed of catching
// up.
func (s *scenario) caughtNearlyUp(f *feeder) {
	s.Helper()
	start := s.count()
	s.await("the backlog to be done", func() error {
		if missing := int64(f.Made()) - s.distinct(); missing > podRate/2 || s.count() < start+podRate {
			return fmt.Errorf("%d to go", missing)
		}
		return nil
	})
}

// distinct is how many inputs the group has committed, a little less than those that are done.
func (s *scenario) distinct() (n int64) {
	all, err := s.kafka.Admin().FetchOffsets(s.Context(), s.group)
	if err != nil {
		return 0
	}
	for _, o := range all.Offsets()[s.input] {
		n += o.At
	}
	// What may be done and not committed. With an interval of 5 s that is most of the missing.
	return n + int64(s.commitEvery().Seconds()*podRate)
}

// Two of three apps are killed in the same moment.
func TestTwoAppsKilledAtOnce(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.sidecar()
	p := s.pod(3, working)
	f, h := s.feed(500), s.watchHolders()
	s.settled(3)
	s.outputs(s.count() + 1000)
	held := [][]int32{h.of(p.apps[0].Name), h.of(p.apps[1].Name)}
	died := time.Now()
	s.kill(p.apps[0])
	s.kill(p.apps[1])
	var took []time.Duration
	for i, partitions := range held {
		took = append(took, h.awaitTaken(partitions, p.apps[i].Name, died)...)
	}
	f.more(500)
	n := f.finish()
	s.caughtUp()
	t.Logf("takeover %s; wills: %s", quantiles(took), s.wills())
	s.repeatsNothing(n)
}

// repeatsNothing judges a scenario in which only apps died.
func (s *scenario) repeatsNothing(inputs uint64) {
	s.Helper()
	if r := s.verify(inputs).result; r.Duplicated > 0 {
		s.Errorf("%d outputs were done twice: what only apps die of repeats nothing", r.Duplicated)
	}
}

// A static member is killed: its will commits and does not leave, so its partitions wait for it,
// and it goes on with them when it is back.
func TestStaticMemberKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.sidecar()
	a := s.app("app-a", roleApp, with(working, envInstance, "a"))
	s.app("app-b", roleApp, with(working, envInstance, "b"))
	f, h := s.feed(500), s.watchHolders()
	s.settled(2)
	s.outputs(s.count() + 1000)
	held, died := h.of(a.Name), time.Now()
	s.kill(a)
	f.more(1000) // two seconds: the other one does not get them
	for _, p := range held {
		if at, ok := h.taken(p, a.Name, died); ok {
			t.Errorf("partition %d of the static member was given away, %s after its death", p, at.Sub(died))
		}
	}
	s.members(2)
	again := s.app("app-a.2", roleApp, with(working, envInstance, "a"))
	took := h.awaitTaken(held, a.Name, died)
	for _, p := range held {
		if !slices.Contains(h.of(again.Name), p) {
			t.Errorf("partition %d is not the static member's any more", p)
		}
	}
	f.more(500)
	n := f.finish()
	s.caughtUp()
	t.Logf("back after %s; wills: %s", quantiles(took), s.wills())
	s.repeatsNothing(n)
}

// An app that names its session itself is killed and started again at once, under the same name of
// the session: it is told that its session is over, and goes on with one of its own.
func TestRestartedUnderTheSameSession(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.sidecar()
	a := s.app("app-a", roleApp, with(working, envSessionID, "app-a"))
	s.app("app-b", roleApp, working)
	f, h := s.feed(500), s.watchHolders()
	s.settled(2)
	s.outputs(s.count() + 1000)
	held, died := h.of(a.Name), time.Now()
	s.kill(a)
	again := s.app("app-a.2", roleApp, with(working, envSessionID, "app-a"))
	took := h.awaitTaken(held, a.Name, died)
	s.await("the app to work again", func() error {
		if len(h.of(again.Name)) == 0 {
			return errors.New("no output of it")
		}
		return nil
	})
	n := f.finish()
	s.caughtUp()
	t.Logf("takeover %s; wills: %s", quantiles(took), s.wills())
	s.repeatsNothing(n)
}

// The sidecar dies while it executes the will of an app. Before the will has committed that is the
// death of both: W + C. Once it has committed, the leave is missing, and the partitions wait for
// the end of the session: nothing is repeated of the app's, what the sidecar had of the others is.
func TestSidecarKilledDuringWill(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]kmsg.Key{"before its commit": kmsg.OffsetFetch, "before its leave": kmsg.LeaveGroup} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, brokers(t))
			s.handsOver = true
			build(t, "ackmark") // now: not while the partitions stand still
			g := newGate(t)
			sidecar := s.gatedSidecar(g)
			env := map[string]string{envTimes: "1ms"}
			a := s.app("app-a", roleApp, env)
			s.app("app-b", roleApp, env)
			f, h := s.feed(500), s.watchHolders()
			s.settled(2)
			s.outputs(s.count() + 1000)
			held, died := h.of(a.Name), time.Now()
			stopped := g.hold(at)
			s.kill(a)
			stopped.await(t, "the will has not come to it", stopped.caught)
			s.kill(sidecar)
			f.more(500)
			s.sidecar()
			took := h.awaitTaken(held, a.Name, died)
			f.more(500)
			n := f.finish()
			s.caughtUp()
			e := s.verify(n)
			mine, others := 0, 0
			for _, r := range e.repeats {
				if slices.Contains(held, r.partition) {
					mine++
				} else {
					others++
				}
			}
			t.Logf("takeover %s; duplicated: %d of the app's partitions, %d of the others", quantiles(took), mine, others)
			if at == kmsg.LeaveGroup && mine > 0 {
				t.Errorf("%d outputs of the app's partitions were done twice: the will had committed them", mine)
			}
		})
	}
}
