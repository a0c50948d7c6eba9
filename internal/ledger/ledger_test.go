package ledger

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

func message(first uint64, costs ...Cost) *Message {
	m := new(Message)
	m.Begin(first, len(costs))
	for _, c := range costs {
		m.Add(c)
	}
	return m
}

func failure(code string) *sidecarpb.UnitFailure {
	return &sidecarpb.UnitFailure{Error: &sidecarpb.Error{Code: code}}
}

func ranges(list ...uint64) (out []*sidecarpb.Range) {
	for i := 0; i < len(list); i += 2 {
		out = append(out, &sidecarpb.Range{First: list[i], Count: list[i+1]})
	}
	return out
}

// books are the ledger, simple and slow: every unit that was ever received.
type books struct {
	units  []*entry
	done   map[*Message]bool
	failed int
}

type entry struct {
	message *Message
	index   int32
	cost    Cost
	ended   bool
	acked   bool
	taken   bool // reported, on whatever stream
	heard   bool // by the client
}

func (b *books) outstanding() (o Outstanding) {
	for _, u := range b.units {
		if !u.taken {
			o.Units++
			o.add(u.cost)
		}
	}
	return o
}

func (b *books) open() (list []*entry) {
	for _, u := range b.units {
		if !u.ended {
			list = append(list, u)
		}
	}
	return list
}

// unheard is what the client says when it comes back, with some that never arrived.
func (b *books) unheard(extra int) (list []*sidecarpb.Range) {
	for i := range len(b.units) + extra {
		if i < len(b.units) && b.units[i].heard {
			continue
		}
		seq := uint64(i) + 1
		if n := len(list); n > 0 && list[n-1].First+list[n-1].Count == seq {
			list[n-1].Count++
		} else {
			list = append(list, &sidecarpb.Range{First: seq, Count: 1})
		}
	}
	return list
}

// hear checks a report against what happened. What arrives is heard once.
func (b *books) hear(t *rapid.T, seq uint64, acked, arrives bool) (back Cost) {
	if seq == 0 || seq > uint64(len(b.units)) {
		t.Fatalf("a report of %d, and %d units were received", seq, len(b.units))
	}
	u := b.units[seq-1]
	switch {
	case !u.ended || u.acked != acked:
		t.Fatalf("%d is reported as acked %v; ended %v, acked %v", seq, acked, u.ended, u.acked)
	case u.heard:
		t.Fatalf("%d is reported twice", seq)
	}
	if !u.taken {
		back = u.cost
	}
	u.taken, u.heard = true, arrives
	return back
}

// take takes reports until there are no more, as a sender does, or once.
func (b *books) take(t *rapid.T, l *Ledger, r *Report, arrives, all bool) {
	for more := true; more; more = more && all {
		var back, want Cost
		back, more = l.Take(r)
		for _, x := range r.Acked {
			for k := range x.Count {
				want.add(b.hear(t, x.First+k, true, arrives))
			}
		}
		for _, f := range r.Failed {
			want.add(b.hear(t, f.GetSequence(), false, arrives))
		}
		if back != want {
			t.Fatalf("%+v came back, want %+v", back, want)
		}
		for _, m := range r.Done {
			if b.done[m] {
				t.Fatal("a message is done twice: it may be another one by now")
			}
			b.done[m] = true
			for _, u := range b.units {
				if u.message == m && !u.taken {
					t.Fatal("a message is done, and a unit of it is not reported")
				}
			}
		}
	}
}

// Units end in any order, as acked or failed, in messages of any size; reports are taken at any
// time and lost with streams that break. Each unit is reported once to a client that says what it
// has not heard, as what it was, and what is outstanding is what was never reported, at each moment
// (S12).
func TestLedgerKeepsItsBooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, b := New(true), &books{done: make(map[*Message]bool)}
		var r Report
		resume := func(extra int) {
			high, ok, err := l.Resume(b.unheard(extra), 1<<20)
			if err != nil || !ok || high != uint64(len(b.units)) {
				t.Fatalf("%d, %v, %v; want it to go on from %d", high, ok, err, len(b.units))
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"receive", "end", "end", "end", "take", "lose", "break"}).Draw(t, "step") {
			case "receive":
				costs := make([]Cost, rapid.IntRange(1, 130).Draw(t, "units"))
				for i := range costs {
					costs[i] = Cost{int64(i%7 + 1), int64(i%3 + 1)}
				}
				m := message(uint64(len(b.units))+1, costs...)
				if _, err := l.Receive(m, Cost{1 << 40, 1 << 40}); err != nil {
					t.Fatal(err)
				}
				for i, c := range costs {
					b.units = append(b.units, &entry{message: m, index: int32(i), cost: c})
				}
			case "end":
				open := b.open()
				if len(open) == 0 {
					continue
				}
				b.end(&l, open[rapid.IntRange(0, len(open)-1).Draw(t, "which")], rapid.IntRange(0, 5).Draw(t, "fails") > 0)
			case "take":
				b.take(t, &l, &r, true, rapid.Bool().Draw(t, "all"))
			case "lose":
				b.take(t, &l, &r, false, rapid.Bool().Draw(t, "all"))
				resume(rapid.IntRange(0, 50).Draw(t, "sent and not received"))
			case "break":
				resume(0)
			}
			if got, want := l.Outstanding(), b.outstanding(); got != want || l.Open() != len(b.open()) {
				t.Fatalf("%+v and %d open, want %+v and %d", got, l.Open(), want, len(b.open()))
			}
		}
		for _, u := range b.open() {
			b.end(&l, u, true)
		}
		b.take(t, &l, &r, true, true)
		for i, u := range b.units {
			if !u.heard {
				t.Fatalf("%d was never reported", i+1)
			}
		}
		if l.Outstanding() != (Outstanding{}) || l.first != nil || l.last != nil || l.Open() != 0 {
			t.Fatalf("left over: %+v, %d open", l.Outstanding(), l.Open())
		}
	})
}

func (b *books) end(l *Ledger, u *entry, acked bool) {
	if b.failed == MaxTold {
		acked = true // more than that are not remembered
	}
	u.ended, u.acked = true, acked
	if acked {
		l.Ack(u.message, u.index)
		return
	}
	b.failed++
	l.Fail(u.message, u.index, failure("X"))
}

// What a client must not send.
func TestReceiveChecks(t *testing.T) {
	one, credit := Cost{10, 1}, Cost{30, 3}
	for name, x := range map[string]struct {
		first uint64
		costs []Cost
		want  string
	}{
		"next":             {3, []Cost{one}, ""},
		"a gap":            {4, []Cost{one}, "units 4 to 4, expected 3"},
		"again":            {2, []Cost{one}, "no gaps"},
		"0":                {0, []Cost{one}, "start at 1"},
		"beyond the last":  {1<<64 - 1, []Cost{one, one}, "no gaps"},
		"too many bytes":   {3, []Cost{{11, 1}}, "20 bytes and 2 records outstanding, 11 and 1 more sent, the credit is 30 and 3"},
		"too many records": {3, []Cost{{1, 1}, {1, 1}}, "credit exceeded"},
	} {
		l := New(true)
		if _, err := l.Receive(message(1, one, one), credit); err != nil {
			t.Fatal(err)
		}
		before := l.Outstanding()
		_, err := l.Receive(message(x.first, x.costs...), credit)
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
		if err != nil && (l.Outstanding() != before || l.Received() != 2) {
			t.Errorf("%s: refused, and entered: %+v", name, l.Outstanding())
		}
	}
	l := New(true)
	if _, err := l.Receive(message(7, Cost{1 << 40, 1 << 20}), credit); err != nil {
		t.Errorf("one that is larger than the credit passes alone: %v", err)
	}
	if back := l.Close(); back != (Cost{1 << 40, 1 << 20}) || l.Outstanding() != (Outstanding{}) || l.Received() != 7 {
		t.Errorf("closed with %+v, %+v outstanding", back, l.Outstanding())
	}
}

// A message is used again: nothing of what it was is left.
func TestMessagesAreUsedAgain(t *testing.T) {
	l, m := New(true), new(Message)
	var r Report
	for _, n := range []int{130, 3, 64, 200} {
		m.Begin(l.Received()+1, n)
		for range n {
			m.Add(Cost{1, 1})
		}
		if _, err := l.Receive(m, Cost{1000, 1000}); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			l.Ack(m, int32(i))
		}
		first := m.First()
		if back, more := l.Take(&r); more || back != m.Total() || len(r.Done) != 1 || !slices.Equal(r.Acked, []wire.Range{{First: first, Count: uint64(n)}}) {
			t.Fatalf("%d units: %+v, %v, %+v", n, back, more, r)
		}
	}
}

// A failure that is not remembered any more is not told as acked: the session cannot go on.
func TestForgottenFailuresEndASession(t *testing.T) {
	for first, want := range map[uint64]bool{1: false, 2: true} {
		l := New(true)
		for seq := range uint64(MaxTold + 1) {
			l.told.add(&sidecarpb.UnitFailure{Sequence: seq + 1})
		}
		l.next = 1000
		if _, ok, err := l.Resume(ranges(first, 3), 100); ok != want || err != nil {
			t.Errorf("from %d on: %v %v, want %v", first, ok, err, want)
		}
	}
}

// What was sent behind a unit that came too late is too late until the client has heard of it (S7).
func TestLateUntilHeardOf(t *testing.T) {
	one, credit := Cost{1, 1}, Cost{100, 100}
	for name, x := range map[string]struct {
		resumable bool
		take      bool // it is reported on the stream that breaks
		unheard   []*sidecarpb.Range
		want      bool // the next one is late
	}{
		"the same stream":             {true, true, nil, true},
		"a stream that heard":         {true, true, ranges(2, 1), false},
		"a stream that did not":       {true, true, ranges(1, 2), true},
		"not told so far":             {true, false, ranges(1, 2), true},
		"no resumption, outstanding":  {false, false, nil, true},
		"no resumption, all reported": {false, true, nil, false},
	} {
		l := New(x.resumable)
		m := message(1, one, one)
		if late, err := l.Receive(m, credit); late || err != nil {
			t.Fatal(late, err)
		}
		l.Late(true)
		l.Fail(m, 0, failure(wire.CodeExpired))
		if !x.resumable {
			l.Ack(m, 1)
		}
		if x.take {
			l.Take(new(Report))
		}
		if x.unheard != nil {
			if _, ok, err := l.Resume(x.unheard, 100); !ok || err != nil {
				t.Fatalf("%s: %v, %v", name, ok, err)
			}
		}
		if late, err := l.Receive(message(3, one), credit); late != x.want || err != nil {
			t.Errorf("%s: late is %v, %v", name, late, err)
		}
	}
}

// within fails the test if what a peer said keeps the ledger busy for good.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		fmt.Printf("--- FAIL: %s\n    %s: the ledger hangs\n", t.Name(), what)
		os.Exit(1) // the loop would keep the test's process
	}
}

// A count is a peer's word: whatever it is, the work is that of what is here (F1).
func TestRangesOfAPeerAreNotLoopedOver(t *testing.T) {
	l := New(true)
	l.next = 1 << 61
	for seq := uint64(3); seq < 300; seq += 3 {
		l.told.add(&sidecarpb.UnitFailure{Sequence: seq})
	}
	resume := func(list []*sidecarpb.Range, most int) (ok bool, err error) {
		within(t, "Hello.unreported", func() { _, ok, err = l.Resume(list, most) })
		return ok, err
	}
	if ok, err := resume(ranges(1, 1<<60), 100); !ok || err != nil {
		t.Errorf("a range of 2⁶⁰: %v, %v", ok, err)
	}
	if n := len(l.againFailed); n != 99 {
		t.Errorf("%d failures are told again, want 99", n)
	}
	many := make([]*sidecarpb.Range, 101)
	for i := range many {
		many[i] = &sidecarpb.Range{First: uint64(2*i + 1), Count: 1}
	}
	if _, err := resume(many, 100); err == nil {
		t.Error("more ranges than the credit allows")
	}
	if _, err := resume(many[1:], 100); err != nil {
		t.Errorf("as many ranges as the credit allows: %v", err)
	}
	for name, list := range map[string][]*sidecarpb.Range{
		"empty": ranges(5, 0), "backwards": ranges(5, 1, 4, 1), "overlapping": ranges(5, 2, 6, 1), "beyond the last": ranges(5, 1<<64-1), "0": ranges(0, 1),
	} {
		if _, err := resume(list, 100); err == nil {
			t.Errorf("%s: %v is accepted", name, list)
		}
	}
}
