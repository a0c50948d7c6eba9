package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/internal/proof/netfault"
)

// failuresEnv has TestExactlyOnceFailures do all of `make exactly-once`, and holds it to its times:
// "all", or numbers as in 4,7. Without it some rows are played.
const failuresEnv = "ACKMARK_EXACTLY_ONCE"

// failing is a pod that is exactly-once, and what is done to it.
type failing struct {
	*pod
	sidecar *childproc.Process
	of      *failure
	via     string // where the sidecar reaches its brokers; "": at their addresses
	gate    *gate
	proxy   *netfault.Proxy // to the brokers
	stream  *netfault.Proxy // from the first app to the sidecar
	f       *feeder
	h       *holders
	reads   *console
	broken  []int                     // brokers to start again at the end
	took    time.Duration             // until what the row waits for
	held    [partitions]time.Duration // how long the test itself has held them up
	more    uint64                    // inputs beside the feed's
	isTwin  bool
}

// failure is a row: what may go wrong, and how long it may hold outputs up.
type failure struct {
	number  int
	what    string
	waits   string // what the row measures; "": nothing but the stalls
	limit   time.Duration
	stall   time.Duration // the longest stall that the row may have beside what the test holds back itself; 0: it is not judged
	twin    time.Duration // the same of its at-least-once twin; 0: it is about transactions alone, and has none
	repeats bool          // the twin's outputs may come again
	do      func(x *failing)
	env     map[string]string
	gate    bool
	proxy   bool
	stream  bool
	breaks  bool              // brokers
	own     map[string]string // properties of a broker of its own
	cheap   bool              // played without failuresEnv, too
}

const (
	failureRate = 300
	// cutFor is how long a row cuts an app off, or stops it: longer than keepalive and grace, by
	// which that is noticed.
	cutFor  = 14 * time.Second
	noticed = 11 * time.Second
	// sidecarDeaths come so soon after each other that nothing of a partition may be seen over all
	// of them.
	sidecarDeaths = 3
)

var failures = []failure{
	{number: 1, what: "an app is killed inside a transaction", twin: takeoverLimit, waits: "others' outputs of its partitions", limit: takeoverLimit, do: (*failing).appKilled},
	{number: 2, what: "a rebalance inside a transaction, in order", twin: takeoverLimit, do: (*failing).rebalanced},
	{number: 2, what: "the group expels a member inside a transaction", twin: takeoverLimit, repeats: true, cheap: true, do: (*failing).expelled},
	{number: 2, what: "a rebalance whose drain deadline passes", twin: takeoverLimit, repeats: true, waits: "others' outputs of what was in hand", limit: drainLimit, stall: takeoverLimit,
		env: map[string]string{envDrain: drainTimeout.String(), envLanes: "32"}, do: (*failing).drainPassed},
	{number: 3, what: "the stream is cut, and the session closed", twin: cutFor + takeoverLimit, repeats: true, stream: true, do: (*failing).streamCut},
	{number: 3, what: "an app is stopped for longer than the grace", twin: noticed + takeoverLimit, repeats: true, do: (*failing).appStopped},
	{number: 4, what: "the sidecar is killed", twin: sidecarDeaths * takeoverLimit, repeats: true, waits: "outputs through its successor", limit: takeoverLimit, do: (*failing).sidecarKilled},
	{number: 5, what: "a second sidecar takes the id", cheap: true, do: (*failing).idTaken},
	{number: 5, what: "its id is taken while the sidecar is stopped", do: (*failing).idTakenInSleep},
	{number: 6, what: "Kafka refuses records", twin: takeoverLimit, env: map[string]string{envPoison: "23"}, do: func(x *failing) { x.f.more(3 * failureRate) }},
	{number: 7, what: "the answer to an end is lost", gate: true, cheap: true, do: (*failing).endLost},
	{number: 8, what: "the transactions' coordinator is killed", waits: "committed outputs", limit: coordinatorLimit, gate: true, breaks: true, do: (*failing).coordinatorKilled},
	{number: 8, what: "a leader of the outputs is killed", twin: coordinatorLimit, waits: "outputs of its partition", limit: coordinatorLimit, breaks: true, do: (*failing).leaderKilled},
	{number: 8, what: "the group's coordinator is killed", twin: coordinatorLimit, waits: "committed outputs", limit: coordinatorLimit, breaks: true, do: (*failing).groupCoordinatorKilled},
	{number: 9, what: "the brokers time a transaction out", proxy: true, do: (*failing).timedOut},
	{number: 9, what: "the sidecar is stopped for longer than a transaction may take", do: (*failing).sidecarStopped},
	{number: 10, what: "all brokers are killed", twin: coordinatorLimit, repeats: true, breaks: true, do: (*failing).brokersDown},
	{number: 10, what: "the pod is killed while all brokers are down", twin: coordinatorLimit, repeats: true, waits: "outputs of each partition", limit: coordinatorLimit, stall: coordinatorLimit,
		breaks: true, do: (*failing).podKilledWithoutBrokers},
	{number: 11, what: "SIGTERM, one process after the other", twin: takeoverLimit, do: (*failing).terminated},
	{number: 12, what: "an app is killed with a done-set", twin: takeoverLimit, repeats: true, env: map[string]string{envSlow: "40"}, do: (*failing).killedWithDoneSet},
	{number: 12, what: "an app is killed with a done-set that has no room", twin: takeoverLimit, waits: "outputs of its partition", limit: takeoverLimit, stall: takeoverLimit,
		env: map[string]string{envTimes: "0s", envLanes: "8"}, do: (*failing).killedWithFullDoneSet},
	{number: 12, what: "the brokers take no done-sets, and the apps are killed", twin: takeoverLimit, repeats: true, waits: "outputs of each partition", limit: takeoverLimit, stall: takeoverLimit,
		env: map[string]string{envSlow: "40"}, own: map[string]string{"offset.metadata.max.bytes": "32"}, do: (*failing).doneSetRefused},
	{number: 13, what: "the sidecar is killed, records without an input", twin: sidecarDeaths * takeoverLimit, repeats: true, env: map[string]string{envEmit: "1"}, do: (*failing).sidecarKilled},
}

// Section by section, what can go wrong with transactions through the sidecar, done to processes
// and brokers. A reader of committed records sees the outputs of every input once; so does Kafka's
// own, which has read them meanwhile; and no transaction is torn.
func TestExactlyOnceFailures(t *testing.T) {
	asked := os.Getenv(failuresEnv)
	twins := asked != "" && os.Getenv(twinsEnv) == "1"
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\nno\twhat goes wrong\tinputs\tlost\trepeated\ttransactions\ttorn\tlongest stall\tat-least-once\tmeasured")
	for i := range failures {
		of := &failures[i]
		if asked == "" && !of.cheap || asked != "" && asked != "all" && !slices.Contains(strings.Split(asked, ","), fmt.Sprint(of.number)) {
			continue
		}
		t.Run(fmt.Sprintf("%d %s", of.number, of.what), func(t *testing.T) {
			var without *twin
			if twins && of.twin > 0 {
				without = playTwin(t, of)
			}
			x := newFailing(t, of, false)
			of.do(x)
			fmt.Fprintln(w, x.conclude(asked != "", without))
		})
	}
	_ = w.Flush()
	t.Log(table.String())
}

// newFailing starts the pod of a row, or of its twin.
func newFailing(t *testing.T, of *failure, isTwin bool) *failing {
	t.Helper()
	var kafka *kafkatest.Cluster
	if of.own == nil {
		kafka = brokers(t)
	} else {
		kafka = kafkatest.Start(t, kafkatest.Config{Properties: of.own})
	}
	s := newScenario(t, kafka)
	if of.breaks {
		s.kafka.CanBreak()
	}
	x := &failing{of: of, isTwin: isTwin}
	if of.gate {
		x.gate = newGate(t)
		x.via = x.gate.addr()
	}
	listen := func(network, address, target string) *netfault.Proxy {
		p, err := netfault.Listen(network, address, target)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	if of.proxy {
		x.proxy = listen("tcp", "127.0.0.1:0", "")
		x.via = x.proxy.Addr()
	}
	env := map[string]string{envMode: "exactly-once", envSession: longSession.String(), envTimes: "1ms", envHold: filepath.Join(s.dir, holdFile)}
	for k, v := range of.env {
		env[k] = v
	}
	x.pod = &pod{scenario: s, env: env, apps: make([]*childproc.Process, 2)}
	if isTwin {
		env[envMode] = "at-least-once"
	} else {
		x.reads = s.console()
	}
	x.startSidecar()
	if of.stream {
		x.stream = listen("unix", filepath.Join(s.dir, "stream.sock"), "unix:"+s.socket())
		env[envSidecar] = "unix://" + x.stream.Addr()
	}
	x.start(0)
	delete(env, envSidecar)
	x.start(1)
	s.members(2)
	x.f, x.h = s.feed(failureRate), s.watchHolders(x.readers()...)
	if of.own != nil {
		return x // there may be none
	}
	for _, app := range x.apps { // the rebalance is over
		x.await("work by "+app.Name, func() error {
			if len(x.h.of(app.Name)) == 0 {
				return fmt.Errorf("it holds nothing")
			}
			return nil
		})
	}
	return x
}

// startSidecar starts it under the transactional id of the scenario.
func (x *failing) startSidecar() { x.sidecar = x.sidecarOn(x.socket()) }

func (x *failing) sidecarOn(socket string) *childproc.Process {
	x.Helper()
	env := map[string]string{envSidecar: "unix://" + socket, envProxy: x.via, envStateDir: socket + ".state"}
	if !x.isTwin {
		env[envID], env[envTxnTimeout] = x.group, "5s"
	}
	return x.app(sidecarName, roleSidecar, env)
}

// seesMore waits until the reader has seen so many more outputs.
func (x *failing) seesMore(n int) {
	x.Helper()
	begun := x.h.all()
	x.await(fmt.Sprintf("%d more committed outputs", n), func() error {
		if got := x.h.all() - begun; got < n {
			return fmt.Errorf("%d so far", got)
		}
		return nil
	})
}

// all counts the outputs that the reader has seen.
func (h *holders) all() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, works := range h.seen {
		n += len(works)
	}
	return n
}

// stall is the longest time in which the reader saw nothing of an input partition.
func (h *holders) stall() (longest time.Duration) {
	for p := range int32(partitions) {
		longest = max(longest, h.stallOf(p))
	}
	return longest
}

func (h *holders) stallOf(partition int32) (longest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	works := h.seen[partition]
	for i := 1; i < len(works); i++ {
		longest = max(longest, works[i].seen.Sub(works[i-1].seen))
	}
	return longest
}

// ended has the pod do all that is left, ends it, and returns the number of inputs.
func (x *failing) ended() uint64 {
	x.Helper()
	for _, i := range x.broken {
		x.kafka.Restart(i)
	}
	x.f.more(failureRate)
	n := x.f.finish() + x.more
	x.caughtUp()
	x.terminate(append(slices.Clone(x.apps), x.sidecar)...)
	return n
}

// conclude ends the pod and judges what a reader of committed records sees.
func (x *failing) conclude(holdTimes bool, without *twin) string {
	x.Helper()
	n := x.ended()
	counts, repeated := x.seen(), 0
	for _, times := range counts {
		repeated += times - 1
	}
	x.seenOnce(n)
	compared := x.allWhole(n)
	x.reads.sawOnce()
	measured := ""
	if x.of.waits != "" {
		measured = fmt.Sprintf("%s after %s", x.of.waits, x.took.Round(10*time.Millisecond))
		if holdTimes && x.took > x.of.limit {
			x.Errorf("%s, the limit is %s", measured, x.of.limit)
		}
	}
	stall := x.h.stall().Round(10 * time.Millisecond).String()
	if x.of.stall > 0 {
		excess := x.excess()
		stall += fmt.Sprintf(" (%s beside the test's own, at most %s)", excess.Round(10*time.Millisecond), x.of.stall)
		if holdTimes && excess > x.of.stall {
			x.Errorf("longest stall %s", stall)
		}
	}
	beside, err := x.beside(without)
	if err != nil {
		x.Error(err)
	}
	return fmt.Sprintf("%d\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s", x.of.number, x.of.what, n, int(n)-len(counts), repeated, compared.Transactions, compared.TornOnes(), stall, beside, measured)
}

func (x *failing) appKilled() {
	x.Helper()
	victim, died := x.apps[0], time.Now()
	held := x.h.of(victim.Name)
	x.kill(victim)
	x.start(0)
	for _, p := range held {
		x.took = max(x.took, x.h.awaitSeen(fmt.Sprintf("others' outputs of partition %d", p), died, func(of int32, w work) bool { return of == p && w.by != victim.Name }))
	}
}

func (x *failing) rebalanced() {
	x.Helper()
	for range 2 {
		x.apps = append(x.apps, nil)
		last := len(x.apps) - 1
		x.start(last)
		x.f.more(2 * failureRate)
		x.terminate(x.apps[last])
		x.apps = x.apps[:last]
		x.f.more(failureRate)
	}
	x.members(2)
}

// expelled has the group forget a member as its coordinator does after a session timeout.
func (x *failing) expelled() {
	x.Helper()
	g, err := x.describe()
	if err != nil || len(g.Members) == 0 {
		x.Fatalf("%v, %v", g, err)
	}
	if err := x.leaves(g.Members[0].ID); err != nil {
		x.Fatal(err)
	}
	x.seesMore(2 * failureRate)
	x.members(2)
}

// leaves takes a member out of the group.
func (x *failing) leaves(member string) error {
	if protocolUnderTest == consumer.ConsumerProtocol {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Group, req.MemberID, req.MemberEpoch = x.group, member, -1
		resp, err := req.RequestWith(x.Context(), x.asks)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = x.group
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = member
	req.Members = append(req.Members, m)
	resp, err := req.RequestWith(x.Context(), x.asks)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil || len(resp.Members) != 1 {
		return err
	}
	return kerr.ErrorForCode(resp.Members[0].ErrorCode)
}

func (x *failing) streamCut() {
	x.Helper()
	for range 3 {
		x.stream.Break() // the session goes on
		x.f.more(failureRate / 2)
	}
	x.stream.Blackhole() // longer than keepalive and grace: it is closed, and its process begins another
	x.f.more(uint64(cutFor/time.Second) * failureRate)
	x.stream.Heal()
	x.f.more(2 * failureRate)
}

func (x *failing) appStopped() {
	x.Helper()
	x.sleeps(x.apps[0], func() { x.f.more(uint64(cutFor/time.Second) * failureRate) }) // longer than keepalive and grace
	x.f.more(2 * failureRate)
}

// sidecarStopped stops the sidecar within a transaction until the brokers have ended it.
func (x *failing) sidecarStopped() {
	x.Helper()
	x.sleeps(x.sidecar, func() { x.f.more(8 * failureRate) })
	x.seesMore(2 * failureRate)
}

// sleeps stops a process while something happens.
func (x *failing) sleeps(p *childproc.Process, meanwhile func()) {
	x.Helper()
	if err := p.Pause(); err != nil {
		x.Fatal(err)
	}
	meanwhile()
	if err := p.Resume(); err != nil {
		x.Fatal(err)
	}
}

func (x *failing) sidecarKilled() {
	x.Helper()
	for n := range sidecarDeaths {
		x.f.more(uint64(100 + 37*n)) // another phase of a transaction each time
		x.kill(x.sidecar)
		begun := time.Now()
		x.startSidecar()
		x.took = max(x.took, x.h.awaitSeen("outputs through the next sidecar", begun, func(int32, work) bool { return true }))
	}
}

func (x *failing) idTaken() {
	x.Helper()
	second := x.sidecarOn(filepath.Join(x.dir, "second.sock"))
	x.olderEnds(x.sidecar)
	x.startSidecar()
	x.olderEnds(second) // which has nothing to do: nobody talks to it
	x.seesMore(failureRate)
}

// idTakenInSleep has a second sidecar take the id while the first one is stopped: that must not
// take it back when it wakes up.
func (x *failing) idTakenInSleep() {
	x.Helper()
	var second *childproc.Process
	x.sleeps(x.sidecar, func() {
		second = x.sidecarOn(filepath.Join(x.dir, "second.sock"))
		x.await("the second sidecar to have the id", func() error {
			id := x.group + "-0"
			of, err := x.kafka.Admin().DescribeTransactions(x.Context(), id)
			if err == nil && of[id].State != "Empty" { // of the first one it is open, or was ended
				err = fmt.Errorf("its transaction is %s, %w", of[id].State, of[id].Err)
			}
			return err
		})
	})
	x.olderEnds(x.sidecar)
	if !second.Running() {
		x.Errorf("the second sidecar ended, though it has the id: %s\n%s", second.State(), tail(second, 20))
	}
	x.startSidecar()
	x.olderEnds(second)
	x.seesMore(failureRate)
}

// olderEnds waits until a sidecar, whose id another one has taken, ends and says by whom.
func (x *failing) olderEnds(older *childproc.Process) {
	x.Helper()
	select {
	case <-older.Done():
	case <-time.After(settle):
		x.Fatal("the older sidecar goes on")
	}
	if log := tail(older, 50); !strings.Contains(log, "producer epoch") {
		x.Errorf("the older sidecar ended, and does not say by which epoch its id was taken:\n%s", log)
	}
}

func (x *failing) endLost() {
	x.Helper()
	for range 3 {
		h := x.gate.lose(kmsg.EndTxn)
		h.await(x.T, "nothing is committed", h.caught)
		h.deliver(x.T)
		x.seesMore(failureRate)
	}
}

func (x *failing) coordinatorKilled() {
	x.Helper()
	h := x.gate.hold(kmsg.EndTxn)
	h.await(x.T, "nothing is committed", h.caught)
	broker := slices.Index(x.kafka.Addrs(), h.to)
	killed := time.Now()
	x.kafka.Kill(broker)
	x.broken = append(x.broken, broker)
	h.letGo()
	x.took = x.h.awaitSeen("committed outputs", killed.Add(100*time.Millisecond), func(int32, work) bool { return true })
	x.f.more(2 * failureRate)
}

func (x *failing) groupCoordinatorKilled() {
	x.Helper()
	broker := x.kafka.GroupCoordinator(x.group)
	killed := time.Now()
	x.kafka.Kill(broker)
	x.broken = append(x.broken, broker)
	x.took = x.h.awaitSeen("committed outputs", killed.Add(100*time.Millisecond), func(int32, work) bool { return true })
	x.f.more(4 * failureRate)
}

func (x *failing) leaderKilled() {
	x.Helper()
	broker := x.kafka.LeaderOf(x.output, 0)
	killed := time.Now()
	x.kafka.Kill(broker)
	x.broken = append(x.broken, broker)
	x.took = x.h.awaitSeen("outputs of the partition", killed.Add(100*time.Millisecond), func(int32, work) bool { return true })
	x.f.more(6 * failureRate)
}

// timedOut cuts the sidecar off for longer than its transactions may be open.
func (x *failing) timedOut() {
	x.Helper()
	x.proxy.Blackhole()
	x.f.more(20 * failureRate)
	x.proxy.Heal()
	x.seesMore(failureRate)
}

func (x *failing) brokersDown() {
	x.Helper()
	begun := time.Now()
	for i := range x.kafka.Addrs() {
		x.kafka.Kill(i)
	}
	back := x.answered()
	x.kafka.Repair() // which waits for replicas, too
	x.excused((<-back).Sub(begun), everyPartition...)
	x.seesMore(failureRate)
}

func (x *failing) terminated() {
	x.Helper()
	for i := range x.apps {
		x.terminate(x.apps[i])
		x.start(i)
		x.members(2)
	}
	x.terminate(x.sidecar)
	x.startSidecar()
	x.seesMore(failureRate)
}

// killedWithDoneSet kills an app while a slow input holds the ack marks back.
func (x *failing) killedWithDoneSet() {
	x.Helper()
	for i := range x.apps {
		x.await("a done-set", func() error {
			have, err := x.kafka.Admin().FetchOffsets(x.Context(), x.group)
			if err != nil {
				return err
			}
			for _, o := range have[x.input] {
				if o.Metadata != "" {
					return nil
				}
			}
			return fmt.Errorf("none is committed")
		})
		x.kill(x.apps[i])
		x.start(i)
		x.f.more(2 * failureRate)
	}
}
