package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/sessionfile"
)

// incidentsEnv has TestIncidents do the whole of `make incidents`, and holds it to its times.
// Without it every row is cut short: a machine that does ten other things tells no times.
const incidentsEnv = "ACKMARK_INCIDENTS"

// outage is processes that are killed together, some times.
type outage struct {
	what   string
	pods   int  // each with a sidecar
	apps   int  // of each pod
	direct bool // the pods have no sidecar, and share a state directory
	env    map[string]string
	times  int
	// victims die, so much one after the other. App -1 is the pod's sidecar.
	victims func(p, app int) bool
	apart   time.Duration
	// stay: the apps do not come back, only sidecars do.
	stay  bool
	stall time.Duration // what is promised
}

// crew is the processes of an outage.
type crew struct {
	*scenario
	of     outage
	pods   []*pod
	guards []*childproc.Process // the pods' sidecars
}

func (s *scenario) crew(of outage) *crew {
	s.Helper()
	c := &crew{scenario: s, of: of, guards: make([]*childproc.Process, of.pods)}
	for i := range of.pods {
		env := map[string]string{envSession: longSession.String(), envTimes: "1ms", envSidecar: "unix://" + c.at(i)}
		if of.direct {
			env[envSidecar], env[envStateDir] = "direct", c.state(i)
		} else {
			c.guards[i] = s.sidecarAt(c.at(i))
		}
		for k, v := range of.env {
			env[k] = v
		}
		p := &pod{scenario: s, env: env, apps: make([]*childproc.Process, of.apps)}
		c.pods = append(c.pods, p)
		for app := range of.apps {
			c.start(i, app)
		}
	}
	return c
}

func (c *crew) at(pod int) string { return filepath.Join(c.dir, fmt.Sprintf("pod-%d.sock", pod)) }

func (c *crew) state(pod int) string {
	if c.of.direct {
		pod = 0 // all have one
	}
	return c.at(pod) + ".state" // the sidecar's default
}

// start starts an app under a name that says whose heir it is.
func (c *crew) start(pod, app int) {
	c.Helper()
	p := c.pods[pod]
	p.starts++
	p.apps[app] = c.app(fmt.Sprintf("app-%d-%d.%d", pod, app, p.starts), roleApp, p.env)
}

// downfall is one time that they were killed.
type downfall struct {
	from, until time.Time // of the first kill, and when the next ones begin
	over        time.Time // when all were dead
	dead        []string
	known       []*sessionfile.Orphan // what they left
}

// strike kills the victims, and starts them again as a kubelet does.
func (c *crew) strike() *downfall {
	c.Helper()
	d := &downfall{from: time.Now()}
	died := make([]bool, c.of.pods)
	var dying sync.WaitGroup
	kills := 0
	kill := func(p *childproc.Process) {
		if kills++; kills > 1 {
			<-time.After(c.of.apart)
		}
		dying.Go(p.Kill)
	}
	for i, p := range c.pods {
		for n, app := range p.apps {
			if !c.of.victims(i, n) {
				continue
			}
			d.dead = append(d.dead, app.Name)
			kill(app)
		}
		if c.guards[i] != nil && c.of.victims(i, -1) {
			died[i] = true
			kill(c.guards[i])
		}
	}
	dying.Wait()
	d.over = time.Now()
	c.incidents = append(c.incidents, incident{what: c.of.what, at: d.from, all: true})
	for i := range c.pods {
		if died[i] || c.of.direct && i == 0 {
			d.known = append(d.known, c.lastStates(c.state(i))...)
		}
	}
	<-time.After(restartAfter)
	for i, p := range c.pods {
		if died[i] {
			c.guards[i] = c.sidecarAt(c.at(i))
		}
		for n := range p.apps {
			if c.of.victims(i, n) && !c.of.stay {
				c.start(i, n)
			}
		}
	}
	return d
}

// running is how many apps there are.
func (c *crew) running() (all []*childproc.Process) {
	for _, p := range c.pods {
		for _, app := range p.apps {
			if app.Running() {
				all = append(all, app)
			}
		}
	}
	return all
}

// everyone dies.
func everyone(int, int) bool { return true }

// The table of incidents: app and sidecar killed together, an app without a sidecar that has a
// state directory, all apps and the sidecar at once. Nothing is lost, what is repeated was on its
// way, and no partition waits for a session of 45 s.
func TestIncidents(t *testing.T) {
	playOutages(t, []outage{
		{what: "app and sidecar", pods: 1, apps: 1, times: 4, victims: everyone, stall: 5 * time.Second},
		{what: "app with STATE_DIR, SIDECAR=direct", pods: 1, apps: 1, direct: true, times: 4, victims: everyone, stall: 5 * time.Second},
		{what: "three apps and the sidecar", pods: 1, apps: 3, times: 2, victims: everyone, stall: 6 * time.Second},
	})
}

// Deaths that overlap: partitions move on when the last will is done, and not after a chain of
// sessions.
func TestDeathsThatOverlap(t *testing.T) {
	const apart = 200 * time.Millisecond
	in848 := map[string]string{envProtocol: "consumer"}
	survivor := func(pod, app int) bool { return pod == 0 || pod == 1 && app == 0 }
	playOutages(t, []outage{
		{what: "three of four apps and one of two sidecars, in a second", pods: 2, apps: 2, times: 1, victims: survivor, apart: apart, stay: true, stall: 5 * time.Second},
		{what: "the same, in the consumer protocol", pods: 2, apps: 2, times: 1, victims: survivor, apart: apart, stay: true, env: in848, stall: 5 * time.Second},
		{what: "four apps and two sidecars, in a second", pods: 2, apps: 2, times: 2, victims: everyone, apart: apart, stall: 6 * time.Second},
		{what: "two of three apps with one STATE_DIR", pods: 3, apps: 1, direct: true, times: 2, victims: func(pod, _ int) bool { return pod < 2 }, apart: apart, stall: 6 * time.Second},
	})
}

// playOutages plays all of them and prints their table.
func playOutages(t *testing.T, all []outage) {
	rows := make([]string, len(all))
	t.Run("of", func(t *testing.T) {
		for i, of := range all {
			t.Run(of.what, func(t *testing.T) {
				if os.Getenv(incidentsEnv) == "" {
					t.Parallel()
				}
				rows[i] = of.play(t)
			})
		}
	})
	t.Logf("killed, and started again %s later, at a session timeout of %s:\n| killed | inputs | | lost | repeated | W | longest stall |\n|---|---|---|---|---|---|---|\n%s",
		restartAfter, longSession, strings.Join(rows, "\n"))
}

// play returns the rows of an outage, one for each time.
func (of outage) play(t *testing.T) string {
	inputs, rate, times, stall := 40_000, 1000, of.times, of.stall
	if os.Getenv(incidentsEnv) == "" {
		inputs, rate, times, stall = 2400, 200, min(of.times, 2), longSession/2
	}
	s := newScenario(t, brokers(t))
	build(t, "ackmark") // now: not while the partitions stand still
	c, f := s.crew(of), s.feed(rate)
	var falls []*downfall
	for n := range times {
		f.until(uint64(inputs * (n + 1) / (times + 1)))
		s.members(len(c.running()))
		s.outputs(s.count() + int64(rate))
		d := c.strike()
		if n > 0 {
			falls[n-1].until = d.from
		}
		falls = append(falls, d)
	}
	f.until(uint64(inputs))
	s.outputs(s.count() + int64(rate))
	n := f.finish()
	falls[times-1].until = time.Now()
	s.caughtUp()
	e := s.gather(n)
	s.Logf("%s", e.result)
	if r := e.result; r.Lost+r.Reordered+r.Unknown+r.Corrupt+r.Split > 0 {
		s.Errorf("%s\n%s", r, r.Details())
	}
	e.checkCommits()
	sent := make([]map[place]bool, times)
	for i, d := range falls {
		sent[i] = e.onItsWay(d)
	}
	superseded := 0
	if of.env[envProtocol] == "" && protocolUnderTest == consumer.ClassicProtocol {
		superseded = s.superseded()
	}
	repeated := e.repeatsOf(falls, sent, superseded > 0)
	var rows []string
	for i, d := range falls {
		w, gap := len(sent[i]), e.longestGap(d)
		if gap > stall {
			s.Errorf("time %d: a partition stood still for %s, at most %s is promised", i+1, gap, stall)
		}
		rows = append(rows, fmt.Sprintf("| %s | %d | %d. | %d | %d | %d | %s |", of.what, n, i+1, e.result.Lost, repeated[i], w, gap.Round(10*time.Millisecond)))
	}
	return strings.Join(rows, "\n")
}

// until waits until so many inputs were fed.
func (f *feeder) until(n uint64) {
	f.s.Helper()
	if made := f.Made(); made < n {
		f.more(n - made)
	}
}

// superseded counts the wills that the group would not hear of. In a classic group that is of a
// leader that died between joining a rebalance and sharing the partitions out, as it may when the
// deaths overlap: nobody can commit for it then, and what it did since its last commit is done
// again.
func (s *scenario) superseded() (n int) {
	s.Helper()
	for _, p := range s.procs {
		log, err := os.ReadFile(p.Log)
		if err != nil {
			s.Fatal(err)
		}
		for _, said := range []string{"outcome=superseded", `"outcome":"superseded"`} { // by an app, and by a sidecar
			n += strings.Count(string(log), said)
		}
	}
	return n
}

// repeatsOf counts what was done again after each downfall. Each repetition has one downfall of its
// own at which the input was on its way: it may come when the next one has begun, since who is slow
// is killed before it has done again what it has in hand. If wills were superseded, inputs that
// were done and not committed may come, too.
func (e *evidence) repeatsOf(falls []*downfall, sent []map[place]bool, superseded bool) (counts []int) {
	e.Helper()
	counts = make([]int, len(falls))
	explained := make(map[place]int) // falls that explain a repetition already
	uncommitted := 0
	for _, r := range e.repeats {
		at := place{r.partition, r.offset}
		n := explained[at]
		for n < len(falls) && (!sent[n][at] || r.at.Before(falls[n].from)) {
			n++
		}
		switch {
		case n < len(falls):
			explained[at] = n + 1
			counts[n]++
		case superseded && slices.ContainsFunc(falls, func(d *downfall) bool {
			return r.at.After(d.from) && e.mayRepeat(incident{at: d.from, all: true, settled: d.over.Add(inFlight)}, r.partition, r.offset)
		}):
			uncommitted++
		default:
			e.Errorf("input %d@%d was done and known, or not on its way, and was done again at %s", r.partition, r.offset, clock(r.at))
		}
	}
	if uncommitted > 0 {
		e.Logf("a leader died in a rebalance: %d inputs were done again that were done and not committed", uncommitted)
	}
	return counts
}

// onItsWay is W: the inputs of which Kafka has outputs of the dead, who had not heard of it.
func (e *evidence) onItsWay(d *downfall) map[place]bool {
	sent := make(map[place]bool)
	for p, works := range e.works {
		for _, w := range works {
			if slices.Contains(d.dead, w.by) && heldInHand(d.known, p, w.offset) {
				sent[place{p, w.offset}] = true
			}
		}
	}
	return sent
}

// longestGap is how long a partition had no output, at most, after a downfall.
func (e *evidence) longestGap(d *downfall) (longest time.Duration) {
	for _, works := range e.works {
		at := d.from
		for _, w := range slices.SortedFunc(slices.Values(works), func(a, b work) int { return a.at.Compare(b.at) }) {
			if w.at.After(at) && at.Before(d.until) {
				longest = max(longest, w.at.Sub(at))
				at = w.at
			}
		}
	}
	return longest
}
