package sessionfile

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// naive is what an assignment has really done.
type naive struct {
	mark  int64
	above map[int64]bool
}

func (n *naive) done(o int64) bool { return o < n.mark || n.above[o] }

// After each store a kill may come: what is read then was true before the operation or is after it,
// and nothing is ever called done that is not.
func TestAKillAfterAnyStoreLeavesTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cell{words: make([]uint64, cellWords)}
		a := Assignment{Group: "g", Member: "m", Topic: "in", Partition: 3, Epoch: 9, Start: rapid.Int64Range(0, 1<<40).Draw(t, "start")}
		c.claim(1, &a)
		was := naive{mark: a.Start, above: map[int64]bool{}}
		is := naive{mark: a.Start, above: map[int64]bool{}}
		check := func() {
			got, err := (&cell{words: slices.Clone(c.words)}).read()
			if err != nil || got == nil {
				t.Fatalf("unreadable: %v", err)
			}
			if got.Mark < was.mark || got.Mark > is.mark {
				t.Fatalf("the mark is %d, it was %d and becomes %d", got.Mark, was.mark, is.mark)
			}
			for _, r := range got.Done {
				if r.First <= got.Mark {
					t.Fatalf("run %v at or below the mark %d", r, got.Mark)
				}
				for o := r.First; o <= r.Last; o++ {
					if !is.done(o) {
						t.Fatalf("offset %d is called done, mark %d", o, got.Mark)
					}
				}
			}
		}
		c.after = check
		for range rapid.IntRange(1, 30).Draw(t, "operations") {
			if rapid.Bool().Draw(t, "advance") {
				to := is.mark + rapid.Int64Range(0, 3*ringBits).Draw(t, "by")
				if rapid.Bool().Draw(t, "little") {
					to = is.mark + rapid.Int64Range(0, 200).Draw(t, "by")
				}
				is.mark = to
				c.advance(to)
			} else {
				first := is.mark + rapid.Int64Range(1, Window+2000).Draw(t, "at")
				if rapid.Bool().Draw(t, "near") {
					first = is.mark + rapid.Int64Range(1, 300).Draw(t, "at")
				}
				last := first + rapid.Int64Range(0, 200).Draw(t, "run")
				for o := first; o <= last; o++ {
					if o <= is.mark+Window {
						is.above[o] = true
					}
				}
				c.done(first, last)
			}
			was.mark = is.mark
			check()
			// Whole: what was noted is there.
			var want []donemeta.Run
			for o := is.mark + 1; o <= is.mark+Window; o++ {
				if !is.above[o] {
					continue
				}
				if n := len(want); n > 0 && want[n-1].Last == o-1 {
					want[n-1].Last = o
				} else {
					want = append(want, donemeta.Run{First: o, Last: o})
				}
			}
			if got := c.runs(); !slices.Equal(got, want) {
				t.Fatalf("mark %d: %v, want %v", is.mark, got, want)
			}
		}
	})
}

// A cell that is used again says nothing of before, whenever the kill comes.
func TestACellIsUsedAgain(t *testing.T) {
	c := &cell{words: make([]uint64, cellWords)}
	first := Assignment{Group: "g", Member: "m", Topic: "in", Start: 100, Epoch: 1}
	c.claim(1, &first)
	c.done(150, 400)
	c.advance(120)
	c.free()
	second := Assignment{Group: "g", Member: "m", Topic: "other", Start: 10, Epoch: 2}
	c.after = func() {
		got, err := (&cell{words: slices.Clone(c.words)}).read()
		if err != nil {
			t.Fatal(err)
		}
		if got != nil && (got.Topic != "other" || got.Mark != 10 || len(got.Done) != 0) {
			t.Fatalf("a mixture: %+v", got)
		}
	}
	c.claim(2, &second)
	if got, err := c.read(); err != nil || got == nil || got.Epoch != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// A membership is the one before or the one after, whenever the kill comes.
func TestAMembershipIsNeverAMixture(t *testing.T) {
	m := &member{words: make([]uint64, memberBytes/8)}
	states := []Membership{{}, {Group: "g", ID: "a", Generation: 1}, {Group: "g", ID: "a", Generation: 2, Cluster: "c"}, {Group: "g", ID: "longer than before", Generation: 1, Instance: "i"}, {Group: "g"}}
	for i := 1; i < len(states); i++ {
		m.after = func() {
			got, ok := (&member{words: slices.Clone(m.words)}).read()
			if !ok && i > 1 || ok && got != states[i] && got != states[i-1] {
				t.Fatalf("%+v, %t while %+v becomes %+v", got, ok, states[i-1], states[i])
			}
		}
		if err := m.write(&states[i]); err != nil {
			t.Fatal(err)
		}
		if got, ok := m.read(); !ok || got != states[i] {
			t.Fatalf("%+v, %t", got, ok)
		}
	}
}
