package assignment_test

import (
	"math/rand/v2"
	"testing"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
)

// naive is an assignment as a list that is walked through for every question.
type naive struct {
	start    int64
	next     int64 // first offset that was not read
	inputs   []input
	was      map[int64]bool // done before it
	state    assignment.State
	highest  int64 // that was committed
	lastText string
}

type input struct {
	offset int64
	done   bool
}

// mark is the first offset read that is not done, or where the reading is.
func (n *naive) mark() int64 {
	for _, in := range n.inputs {
		if !in.done {
			return in.offset
		}
	}
	return n.next
}

// An assignment agrees with the naive one under random reading, gaps, inherited inputs, outcomes in
// any order, commits that succeed or not, and every end. What it commits is the ack mark, never
// goes back, says all that is done above and nothing that is not, and always fits.
func TestAgainstTheModel(t *testing.T) {
	seeds := 2000
	if testing.Short() {
		seeds = 300
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(uint64(seed), 7))
		start := rnd.Int64N(1000)
		gaps := []int64{1, 1, 3, 200, 20_000}[rnd.IntN(5)]
		n := &naive{start: start, next: start, was: map[int64]bool{}, highest: -1}
		kept := &journal{mark: start, above: map[int64]bool{}}
		a := assignment.New(assignment.Spec{TopicID: topicID, Start: start, Committed: -1, Limit: 1 << 12, Journal: kept})
		if rnd.IntN(2) == 0 {
			var runs []donemeta.Run
			for at := start + 1 + rnd.Int64N(3); len(runs) < 20; at += 2 + rnd.Int64N(3*gaps+1) {
				r := donemeta.Run{First: at, Last: at + rnd.Int64N(3)}
				runs = append(runs, r)
				for o := r.First; o <= r.Last; o++ {
					n.was[o] = true
				}
				at = r.Last
			}
			a.Inherit(runs, "before", 3)
		}
		open := map[uint64]int{}          // index → place in inputs
		steps, reads, every := 400, 45, 1 // of 100
		if seed%100 == 0 {                // more than a done-set can say
			steps, reads, gaps, every = 5000, 60, 20_000, 250
		}
		for i := range steps {
			n.step(t, rnd, a, open, gaps, reads)
			if got, want := a.Mark(), n.mark(); got != want {
				t.Fatalf("seed %d: mark %d, want %d", seed, got, want)
			}
			if got := a.State(); got != n.state {
				t.Fatalf("seed %d: state %v, want %v", seed, got, n.state)
			}
			// A process tells where it stands by counts, and a sidecar that could not follow it
			// believes them.
			if c := a.Counts(); c.Done-int64(c.DoneAbove) != int64(a.MarkIndex()) {
				t.Fatalf("seed %d: %d are done, %d of them above the mark, whose index is %d", seed, c.Done, c.DoneAbove, a.MarkIndex())
			}
			if i%every == every-1 {
				n.commit(t, seed, rnd, a)
				kept.compare(t, seed, n)
			}
		}
	}
}

func (n *naive) step(t *testing.T, rnd *rand.Rand, a *assignment.Assignment, open map[uint64]int, gaps int64, reads int) {
	t.Helper()
	switch k := rnd.IntN(100); {
	case k < reads: // a record, perhaps behind a gap
		if n.state != assignment.Reading {
			return
		}
		offset := n.next
		if rnd.IntN(3) == 0 || reads == 60 {
			offset += rnd.Int64N(gaps)
		}
		switch {
		case a.WasDone(offset) != n.was[offset]:
			t.Fatalf("offset %d was done before: %v", offset, n.was[offset])
		case n.was[offset] || rnd.IntN(10) == 0:
			a.Pass(offset, n.was[offset])
		case offset >= a.Describable() && !a.Fits(offset, 0):
			return // it is parked
		default:
			index, ok := a.Read(offset, 10)
			if !ok {
				return
			}
			open[index] = len(n.inputs)
			n.inputs = append(n.inputs, input{offset: offset})
		}
		n.next = offset + 1
	case k < 95: // an outcome
		for index, at := range open {
			if reads == 60 && at%2 == 0 {
				continue // every other one: the order that takes most room
			}
			over := n.state == assignment.Fenced
			n.inputs[at].done = n.inputs[at].done || !over
			if first := a.Done(index); first == over {
				t.Fatalf("Done in state %v says %v", n.state, first)
			}
			if a.Done(index) {
				t.Fatal("an input is done twice")
			}
			delete(open, index)
			break
		}
	case k == 95 && rnd.IntN(8) == 0 && reads < 60: // a long one is read to its end
		e := assignment.Event(rnd.IntN(4))
		before := n.state
		n.state = after(n.state, e)
		if changed := a.Happen(e); changed != (before != n.state) {
			t.Fatalf("%v in state %v changed it: %v", e, before, changed)
		}
	}
}

// after is the transition table in words: the end is the end; a foreign topic stays foreign; what
// halted stays halted while it drains.
func after(s assignment.State, e assignment.Event) assignment.State {
	switch {
	case s == assignment.Fenced || e == assignment.Fence:
		return assignment.Fenced
	case s == assignment.Foreign || e == assignment.Recreate:
		return assignment.Foreign
	case s == assignment.Halted || e == assignment.Halt:
		return assignment.Halted
	}
	return assignment.Draining
}

func (n *naive) commit(t *testing.T, seed int, rnd *rand.Rand, a *assignment.Assignment) {
	t.Helper()
	c, due := a.Due(true)
	if !due {
		return
	}
	if n.state == assignment.Foreign || n.state == assignment.Fenced || c.Offset < n.highest || c.Cut > 0 {
		t.Fatalf("seed %d: %+v is due in state %v, after %d", seed, c, n.state, n.highest)
	}
	if c.Offset != n.mark() {
		t.Fatalf("seed %d: %d is due, the mark is %d", seed, c.Offset, n.mark())
	}
	if c.Offset == n.highest && c.Set == n.lastText {
		t.Fatalf("seed %d: what the group has is due", seed)
	}
	n.said(t, seed, c)
	if rnd.IntN(3) > 0 {
		a.Committed(c)
		n.highest, n.lastText = max(n.highest, c.Offset), c.Set
	}
}

// said compares a commit with what is done.
func (n *naive) said(t *testing.T, seed int, c assignment.Commit) {
	t.Helper()
	var runs []donemeta.Run
	if c.Set != "" {
		var err error
		b := donemeta.Binding{TopicID: topicID, Base: c.Offset, LeaderEpoch: c.LeaderEpoch}
		if runs, err = donemeta.Parse(c.Set, b, nil); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	within := func(o int64) bool {
		for _, r := range runs {
			if r.First <= o && o <= r.Last {
				return true
			}
		}
		return false
	}
	for _, in := range n.inputs {
		if in.offset < c.Offset && !in.done {
			t.Fatalf("seed %d: %d is committed over %d, which is not done", seed, c.Offset, in.offset)
		}
		if in.offset >= c.Offset && within(in.offset) != in.done {
			t.Fatalf("seed %d: the set of %d says of %d: done %v", seed, c.Offset, in.offset, !in.done)
		}
	}
	for o := range n.was {
		if o >= c.Offset && !within(o) {
			t.Fatalf("seed %d: the set of %d forgets %d, which was done before", seed, c.Offset, o)
		}
	}
}

// journal is what a process leaves.
type journal struct {
	mark  int64
	above map[int64]bool
}

func (j *journal) Advance(mark int64) { j.mark = mark }

func (j *journal) Done(first, last int64) {
	for o := first; o <= last; o++ {
		j.above[o] = true
	}
}

// compare: what is kept is done, and what is done is kept.
func (j *journal) compare(t *testing.T, seed int, n *naive) {
	t.Helper()
	for _, in := range n.inputs {
		if kept := in.offset < j.mark || j.above[in.offset]; kept != in.done {
			t.Fatalf("seed %d: offset %d is kept as done: %v, it is %v (mark %d)", seed, in.offset, kept, in.done, j.mark)
		}
	}
}
