package donemeta

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/ackmark"
)

func TestContainsInOrderOfReading(t *testing.T) {
	h := Inherit([]Run{{5, 6}, {9, 9}, {20, 30}})
	var got []int64
	for o := range int64(35) {
		if h.Contains(o) {
			got = append(got, o)
		}
	}
	if want := []int64{5, 6, 9, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if h.Passed() != 3 || h.Len() != 3 || h.End() != 31 {
		t.Errorf("passed %d of %d, end %d", h.Passed(), h.Len(), h.End())
	}
	h.Forget(10)
	if h.Passed() != 1 || h.Len() != 1 || h.Contains(31) {
		t.Errorf("after Forget: passed %d of %d", h.Passed(), h.Len())
	}
	var none Inherited
	if none.Contains(3) || none.Len() != 0 || none.End() != 0 {
		t.Error("nothing is something")
	}
}

func TestMarkCrossesWhatIsInherited(t *testing.T) {
	h := Inherit([]Run{{10, 14}, {15, 15}, {18, 20}})
	tr := ackmark.New(8, 100)
	steps := []struct {
		what string
		do   func()
		want int64
	}{
		{"nothing sent", func() {}, 8},
		{"9 is open, 8 was never there", func() { tr.Put(0, 9, 1) }, 9},
		{"9 is done", func() { tr.Done(0) }, 16},
		{"17 comes before 16", func() { tr.Put(2, 17, 1); tr.Done(2) }, 16},
		{"16 is open", func() { tr.Put(1, 16, 1) }, 16},
		{"16 is done", func() { tr.Done(1) }, 21},
		{"an open one inside a run: never beyond it", func() { tr.Put(3, 19, 1) }, 19},
	}
	for _, s := range steps {
		s.do()
		if got := h.Mark(tr); got != s.want {
			t.Errorf("%s: mark %d, want %d", s.what, got, s.want)
		}
	}
}

func TestUnion(t *testing.T) {
	h := Inherit([]Run{{102, 102}, {104, 105}, {110, 111}, {130, 131}, {132, 140}})
	tr := ackmark.New(100, 100)
	offsets := []int64{100, 101, 103, 106, 108, 112, 114}
	for i, o := range offsets {
		tr.Put(uint64(i), o, 1)
	}
	tr.Done(1) // 101 joins 102
	tr.Done(3) // 106 joins 104–105
	tr.Done(5) // 112 joins 110–111
	got := h.Union(tr, tr.Mark(), []Run{{1, 1}})
	want := []Run{{1, 1}, {101, 102}, {104, 106}, {110, 112}, {130, 140}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Done over a gap: 107 and 109 were never there.
	tr.Done(4)
	if got, want := h.Union(tr, tr.Mark(), nil), []Run{{101, 102}, {104, 112}, {130, 140}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := h.Union(tr, 111, nil), []Run{{111, 112}, {130, 140}}; !slices.Equal(got, want) {
		t.Errorf("from 111: %v, want %v", got, want)
	}
	// Without 113's fate being known nothing joins over it.
	late := ackmark.New(100, 100)
	late.Put(0, 100, 1)
	late.Put(2, 112, 1)
	late.Done(2)
	if got, want := h.Union(late, 100, nil), []Run{{102, 102}, {104, 105}, {110, 112}, {130, 140}}; !slices.Equal(got, want) {
		t.Errorf("with a hole: %v, want %v", got, want)
	}
}

// log is a partition as the broker has it, and what became of its inputs.
type log struct {
	offsets []int64 // that exist
	done    map[int64]bool
}

func drawLog(t *rapid.T) *log {
	l := &log{done: map[int64]bool{}}
	next := int64(100)
	for range rapid.IntRange(1, 60).Draw(t, "inputs") {
		next += rapid.SampledFrom([]int64{1, 1, 1, 2, 5}).Draw(t, "step")
		l.offsets = append(l.offsets, next)
	}
	return l
}

// verify compares a commit with what is true: nothing open is called done, nothing done is
// forgotten, and neighbours that are done are one run.
func (l *log) verify(t *rapid.T, mark, read int64, runs []Run, complete bool) {
	in := func(o int64) bool {
		return slices.ContainsFunc(runs, func(r Run) bool { return r.First <= o && o <= r.Last })
	}
	blocks, joined := 0, false
	for _, o := range l.offsets {
		switch {
		case o < mark && !l.done[o]:
			t.Fatalf("mark %d lies above %d, which is not done", mark, o)
		case o >= mark && in(o) && !l.done[o]:
			t.Fatalf("%d is not done, the set is %v", o, runs)
		case complete && o >= mark && l.done[o] && !in(o):
			t.Fatalf("%d is done and forgotten, mark %d, the set is %v", o, mark, runs)
		}
		if o >= read {
			joined = false
		}
		if o >= mark && l.done[o] && !joined {
			blocks++
		}
		joined = o >= mark && l.done[o]
	}
	if complete && len(runs) > blocks {
		t.Fatalf("%d runs for %d blocks: %v", len(runs), blocks, runs)
	}
	for i, r := range runs {
		if r.First > r.Last || r.First < mark || i > 0 && r.First <= runs[i-1].Last+1 {
			t.Fatalf("no runs in order at or above %d: %v", mark, runs)
		}
	}
}

// A partition goes from hand to hand. Each holder reads some of it, does some of what it was
// handed, and commits; nothing is handed out that was done before.
func TestHandedOverAgainAndAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLog(t)
		b := Binding{Base: l.offsets[0]}
		text := ""
		for range rapid.IntRange(2, 6).Draw(t, "assignments") {
			runs, err := Parse(text, b, nil)
			if err != nil {
				t.Fatal(err)
			}
			h := Inherit(runs)
			tr := ackmark.New(b.Base, 1000)
			var handed []int64
			for _, o := range l.offsets[:rapid.IntRange(0, len(l.offsets)).Draw(t, "read")] {
				switch {
				case o < b.Base:
				case h.Contains(o):
					tr.Skip(o + 1)
				case l.done[o]:
					t.Fatalf("%d is handed out again; set %v", o, runs)
				default:
					tr.Add(o, 1)
					handed = append(handed, o)
				}
			}
			for i, o := range handed {
				if rapid.Bool().Draw(t, "done") {
					tr.Done(uint64(i))
					l.done[o] = true
				}
				if rapid.IntRange(0, 9).Draw(t, "commit") == 0 {
					h.Forget(tr.Mark())
				}
			}
			mark := tr.Mark()
			set := h.Union(tr, mark, nil)
			l.verify(t, mark, tr.Next(), set, true)
			b = Binding{Base: mark, LeaderEpoch: b.LeaderEpoch + 1}
			var kept int
			var raw []byte
			if raw, kept = Append(nil, b, set); kept != len(set) {
				t.Fatalf("kept %d of %d", kept, len(set))
			}
			text = string(raw)
		}
	})
}

// The same for the sidecar, which learns units in any order and never sees what was inherited.
func TestTheSidecarsUnionIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLog(t)
		var inherited []int64
		for _, o := range l.offsets[1:] {
			if rapid.IntRange(0, 2).Draw(t, "inherited") == 0 {
				l.done[o] = true
				inherited = append(inherited, o)
			}
		}
		h := Inherit(naive(l.done))
		tr := ackmark.New(l.offsets[0], 1000)
		var handed []int64
		for _, o := range l.offsets {
			if !l.done[o] {
				handed = append(handed, o)
			}
		}
		mark := tr.Mark()
		for _, i := range rapid.Permutation(indices(len(handed))).Draw(t, "order") {
			if rapid.IntRange(0, 3).Draw(t, "arrives") == 0 {
				continue
			}
			tr.Put(uint64(i), handed[i], 1)
			if rapid.Bool().Draw(t, "done") {
				tr.Done(uint64(i))
				l.done[handed[i]] = true
			}
			now := h.Mark(tr)
			if now < mark {
				t.Fatalf("the mark went back from %d to %d", mark, now)
			}
			mark = now
			if rapid.Bool().Draw(t, "forget") {
				h.Forget(tr.Mark())
			}
			set := h.Union(tr, mark, nil)
			l.verify(t, mark, 0, set, false)
			for _, o := range inherited {
				if o >= mark && !slices.ContainsFunc(set, func(r Run) bool { return r.First <= o && o <= r.Last }) {
					t.Fatalf("%d was inherited and is forgotten: %v", o, set)
				}
			}
		}
	})
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
