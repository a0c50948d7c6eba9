package chaos

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/proof/judge"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A row that breaks a promise is found, whichever it is.
func TestJudge(t *testing.T) {
	good := Result{Inputs: 1000, Duplicated: 5, Bound: 5, Commits: 10}
	for name, c := range map[string]struct {
		spoil func(*Result)
		says  string
	}{
		"kept":        {func(*Result) {}, ""},
		"intended":    {func(r *Result) { r.Bound, r.Duplicated = -1, 1000 }, ""},
		"lost":        {func(r *Result) { r.Lost = 1 }, "1 inputs are lost"},
		"repeated":    {func(r *Result) { r.Duplicated = 6 }, "the bound is 5"},
		"reordered":   {func(r *Result) { r.Reordered = 2 }, "overtook"},
		"premature":   {func(r *Result) { r.Premature = 3 }, "committed before"},
		"saw nothing": {func(r *Result) { r.Inputs = 0 }, "nothing is proven"},
		"split":       {func(r *Result) { r.Split = 4 }, "4 outputs went to another partition"},
		"went wrong":  {func(r *Result) { r.Why = "it hangs" }, "it hangs"},
	} {
		r := good
		c.spoil(&r)
		r.judge()
		if (r.Verdict == Kept) != (c.says == "") || !strings.Contains(r.Why, c.says) {
			t.Errorf("%s: %s, %q", name, r.Verdict, r.Why)
		}
	}
}

// A dead letter that comes again is repeated as any output is, and named.
func TestDeadLettersAreCounted(t *testing.T) {
	gen, dead := verify.NewGenerator(verify.GeneratorConfig{}), letters{}
	for i := range 10 {
		in := gen.Next()
		for range 1 + i/8 { // two of them come again
			dead.add(in.Value)
		}
	}
	dead.add([]byte("no value of ours"))
	for bound, verdict := range map[int64]Verdict{4: Broken, 5: Kept, -1: Kept} {
		r := Result{Inputs: 1000, Bound: bound, BoundSays: "0 (exactly-once)"}
		r.saw(verify.OutputsResult{Duplicated: 3}, dead)
		r.judge()
		if r.DeadLetter != 10 || r.LettersAgain != 2 || r.Duplicated != 5 || r.Verdict != verdict || (verdict == Broken) != strings.Contains(r.Why, "5 outputs came again, 2 of them dead letters") {
			t.Errorf("bound %d: %+v", bound, r)
		}
	}
}

// The tail knows which inputs have an output, in whatever order it reads the two, and so which
// commit came too early.
func TestTailKnowsWhatIsMissing(t *testing.T) {
	tl := &tail{seen: map[int32]*judge.Set{}, ends: map[string]map[int32]int64{}, owner: map[int32]string{}, since: map[int32]time.Time{},
		handled: map[int32]time.Time{}, early: map[uint64]bool{}}
	gen := verify.NewGenerator(verify.GeneratorConfig{})
	var ins []*kgo.Record
	for i := range 100 {
		in := gen.Next()
		ins = append(ins, &kgo.Record{Topic: "in", Partition: 2, Offset: int64(i), Key: in.Key, Value: in.Value})
	}
	out := func(i int, by string) {
		tl.add(&kgo.Record{Topic: "out", Value: ins[i].Value, Headers: []kgo.RecordHeader{{Key: byHeader, Value: []byte(by)}}}, "in")
	}
	out(3, "a") // before its input is read
	for _, r := range ins {
		tl.add(r, "in")
	}
	for i := range 70 {
		if i != 64 {
			out(i, "a")
		}
	}
	out(3, "a") // again
	if inputs, handled := tl.counts(); inputs != 100 || handled != 69 {
		t.Errorf("%d inputs, %d handled", inputs, handled)
	}
	if a, b, c := tl.missing(2, 0, 64), tl.missing(2, 60, 70), tl.missing(2, 0, 1000); a != 0 || b != 1 || c != 931 {
		t.Errorf("missing %d, %d, %d", a, b, c)
	}
	killed := time.Now()
	if _, taken := tl.takenOver(2, "a"); taken {
		t.Error("taken over by nobody")
	}
	out(70, "b")
	if at, taken := tl.takenOver(2, "a"); !taken || at.Before(killed) {
		t.Errorf("taken over %v at %v", taken, at)
	}
	if !tl.reached("in", map[int32]int64{2: 100, 5: 0}) || tl.reached("in", map[int32]int64{2: 101}) {
		t.Error("how far it has read")
	}
}

// What grows is told from what only swings, in memory that is resident, in what is live of it, and
// in goroutines.
func TestFlat(t *testing.T) {
	for name, c := range map[string]struct {
		grow func(x *sample, i int64)
		flat bool
	}{
		"nothing":             {func(*sample, int64) {}, true},
		"resident":            {func(x *sample, i int64) { x.apps.resident += i << 20 }, false},
		"of the sidecar":      {func(x *sample, i int64) { x.sidecar.resident += i << 18 }, false},
		"live in the apps":    {func(x *sample, i int64) { x.apps.live += i << 18 }, false},
		"live in the sidecar": {func(x *sample, i int64) { x.sidecar.live += i << 18 }, false},
		"goroutines":          {func(x *sample, i int64) { x.goroutines += int(i) }, false},
		"a swing":             {func(x *sample, i int64) { x.sidecar.live += i % 7 << 20 }, true},
	} {
		var r Result
		for i := range int64(300) {
			x := sample{at: time.Minute + time.Duration(i)*time.Second, apps: memory{100 << 20, 15 << 20}, sidecar: memory{60 << 20, 15 << 20}, goroutines: 50}
			c.grow(&x, i)
			r.samples = append(r.samples, x)
		}
		if report, flat := r.Flat(); flat != c.flat {
			t.Errorf("%s grows: flat %t, %s", name, flat, report)
		}
	}
}

// Every fault of docs/faults.md has its place, in order: what it does, or why it cannot be done.
func TestRowsAreComplete(t *testing.T) {
	next := 1
	for _, r := range Rows {
		if r.Number != next && r.Number != next-1 {
			t.Errorf("row %d comes after %d", r.Number, next-1)
		}
		next = r.Number + 1
		if (r.Do == nil) == (r.NotHere == "") || r.Fault == "" {
			t.Errorf("row %d does neither do nor say why not", r.Number)
		}
	}
	if next != 34 {
		t.Errorf("the last row is %d", next-1)
	}
}

// A will that the broker refused lets one incident cost what it may, the largest; without one
// nothing may come again.
func TestBoundOfSupersededWills(t *testing.T) {
	row := Row{Number: 1}
	res := Result{costs: []cost{{1, 2}, {10, 20}, {3, 4}}}
	for superseded, want := range []struct {
		n    int64
		says string
	}{{0, "0"}, {30, "W 10 + C 20 (1 in a rebalance)"}, {37, "W 13 + C 24 (2 in a rebalance)"}, {40, "W 14 + C 26 (3 in a rebalance)"}, {40, "W 14 + C 26 (4 in a rebalance)"}} {
		res.superseded = superseded
		if n, says := row.bound(&res); n != want.n || says != want.says {
			t.Errorf("%d superseded: %d, %q; want %d, %q", superseded, n, says, want.n, want.says)
		}
	}
	res.Protocol = consumer.ConsumerProtocol // nobody shares partitions out there who could die of it
	if n, says := row.bound(&res); n != 0 || says != "0" {
		t.Errorf("in the consumer protocol: %d, %q", n, says)
	}
}

// What another process handled before a kill is no takeover, however late it is noticed.
func TestTakeovers(t *testing.T) {
	killed := time.Now()
	tl := &tail{owner: map[int32]string{1: "b", 2: "b", 3: "a"}, since: map[int32]time.Time{1: killed.Add(-time.Second), 2: killed.Add(3 * time.Second), 3: killed.Add(-time.Minute)}}
	w := newWatch(&stage{tail: tl})
	for p := range tl.owner {
		w.pending = append(w.pending, takeover{p, "a", killed})
	}
	w.takeovers()
	if len(w.took) != 1 || w.took[0] != 3*time.Second || len(w.pending) != 1 || w.pending[0].partition != 3 {
		t.Errorf("took %v, pending %v", w.took, w.pending)
	}
}

// Some faults are those of transactions, and one cannot be where there are some.
func TestExactlyOnceRows(t *testing.T) {
	for i := range Rows {
		row := &Rows[i]
		if row.NotHere != "" || row.Broker != "" && row.Number != 29 {
			continue
		}
		dev := new(devbroker.Broker)
		atLeastOnce, exactly := row.missing(&Env{dev: dev}), row.missing(&Env{dev: dev, ExactlyOnce: true})
		if (atLeastOnce != "") != row.ExactlyOnce || (exactly != "") != (row.Number == 28) {
			t.Errorf("fault %d, at-least-once: %q, exactly-once: %q", row.Number, atLeastOnce, exactly)
		}
	}
	s := &stage{Env: &Env{ExactlyOnce: true}, name: "x", row: &Row{}}
	if sp := s.app("app-1"); !sp.ExactlyOnce || sp.Commit != 0 {
		t.Errorf("an app is %+v", sp)
	}
}

// What others take is judged by the second where there is room, and else by what they took before
// the fault.
func TestUnnoticed(t *testing.T) {
	of := func(usual, slow time.Duration) (all []time.Duration) {
		for range 90 {
			all = append(all, usual)
		}
		for range 10 {
			all = append(all, slow)
		}
		return all
	}
	for name, c := range map[string]struct {
		before, during []time.Duration
		says           string
	}{
		"room":               {of(60*time.Millisecond, 160*time.Millisecond), of(60*time.Millisecond, 900*time.Millisecond), ""},
		"room, noticed":      {of(60*time.Millisecond, 160*time.Millisecond), of(60*time.Millisecond, 1100*time.Millisecond), "at most 1s (p99)"},
		"no room":            {of(800*time.Millisecond, 2200*time.Millisecond), of(600*time.Millisecond, 2600*time.Millisecond), ""},
		"no room, noticed":   {of(800*time.Millisecond, 2200*time.Millisecond), of(600*time.Millisecond, 2800*time.Millisecond), "at most 2.7s (p99)"},
		"nothing before":     {nil, of(1, 2), "no partition stayed"},
		"nothing meanwhile":  {of(1, 2), nil, "no partition stayed"},
		"slower by half a s": {of(400*time.Millisecond, 490*time.Millisecond), of(400*time.Millisecond, 1010*time.Millisecond), "at most 1s"},
	} {
		says, err := unnoticed(c.before, c.during)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || says == "" {
			t.Errorf("%s: %q, %v", name, says, err)
		}
	}
}

// The age of a transaction is the greatest that it was seen with; of the next one of its id it is
// another.
func TestOpenTransactions(t *testing.T) {
	var ts transactions
	now := time.Now()
	for age := range 10 {
		for epoch := range int16(100) {
			ts.saw(kadm.DescribedTransactions{"x-0": {TxnID: "x-0", State: "Ongoing", ProducerID: 1, ProducerEpoch: epoch,
				StartTimestamp: now.UnixMilli()}}, time.UnixMilli(now.UnixMilli()).Add(time.Duration(age*int(epoch))*time.Millisecond))
		}
	}
	ts.saw(kadm.DescribedTransactions{"x-0": {TxnID: "x-0", State: "CompleteCommit", ProducerEpoch: 7}}, now.Add(time.Hour))
	var r Result
	if ts.fill(&r); r.Transactions != 100 || r.OpenP50 != 9*49*time.Millisecond || r.OpenP99 != 9*98*time.Millisecond || r.OpenMax != 9*99*time.Millisecond {
		t.Errorf("%d transactions, %s, %s, %s", r.Transactions, r.OpenP50, r.OpenP99, r.OpenMax)
	}
}

// What the brokers do not serve is said at once, and not after a row that waited for it in vain.
func TestBrokersLackWhatIsAskedFor(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.MaxVersions(kversion.V3_7_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	for _, c := range []struct {
		env   Env
		lacks string
	}{
		{Env{}, ""},
		{Env{Protocol: consumer.ConsumerProtocol}, "--protocol consumer: the brokers do not serve"},
		{Env{ExactlyOnce: true}, "--exactly-once: the brokers do not serve"},
	} {
		c.env.Addrs = cluster.ListenAddrs()
		err := c.env.Open(t.Context())
		if err == nil {
			c.env.Close()
		}
		lack, refused := errors.AsType[*LackError](err)
		if refused != (c.lacks != "") || refused && !strings.HasPrefix(lack.Error(), c.lacks) || !refused && err != nil {
			t.Errorf("%v, want %q", err, c.lacks)
		}
	}
	embedded := Env{Protocol: consumer.ConsumerProtocol, ExactlyOnce: true}
	if err := embedded.Open(t.Context()); err != nil {
		t.Fatalf("the embedded broker: %v", err)
	}
	embedded.Close()
}

// What was not made here is told only where there is some.
func TestTableOfWhatWasNotMade(t *testing.T) {
	for verdict, want := range map[Verdict]bool{NotHere: true, Kept: false} {
		var b strings.Builder
		Table(&b, []Result{{Row: 1, Fault: "f", Verdict: verdict, Why: "no brokers"}})
		if got := strings.Contains(b.String(), "Not made here:"); got != want {
			t.Errorf("%s: %s", verdict, b.String())
		}
	}
}
