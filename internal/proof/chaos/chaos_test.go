package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

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

func TestFlat(t *testing.T) {
	growing := func(growth int64) (r Result) {
		for i := range int64(300) {
			r.samples = append(r.samples, sample{at: time.Minute + time.Duration(i)*time.Second, resident: (100 + i*growth) << 20, goroutines: 50})
		}
		return r
	}
	leak := growing(0)
	for i := range leak.samples {
		leak.samples[i].goroutines += i
	}
	if report, flat := leak.Flat(); flat {
		t.Errorf("a goroutine more a second: %s", report)
	}
	for growth, want := range map[int64]bool{0: true, 1: false} {
		r := growing(growth)
		if report, flat := r.Flat(); flat != want {
			t.Errorf("%d MiB a second: %s", growth, report)
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
