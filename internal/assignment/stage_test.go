package assignment_test

import (
	"testing"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
)

// FuzzStagedCommit lets windows of any inputs commit or abort, behind an inherited done-set and
// over gaps. What a window commits says: all that was done before it, all that is in it, and
// nothing else.
func FuzzStagedCommit(f *testing.F) {
	f.Add([]byte{3, 0, 1, 2, 250, 0, 4, 5, 251, 6, 7, 250})
	f.Add([]byte{0, 9, 8, 7, 251, 9, 8, 7, 250, 0, 1, 2, 3, 4, 5, 6, 250})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 {
			return
		}
		// Inputs at every second or third offset; every fifth was done before.
		var offsets []int64
		done := map[int64]bool{}
		var before []donemeta.Run
		next := int64(100)
		a := assignment.New(assignment.Spec{TopicID: topicID, Start: 100, Committed: 100, Limit: 1 << 10})
		for i := range 64 {
			if i%5 == 4 && data[0]&1 == 1 {
				before = append(before, donemeta.Run{First: next, Last: next})
				done[next] = true
			} else {
				offsets = append(offsets, next)
			}
			next += 1 + int64(data[1]>>(i%8)&1)
		}
		a.Inherit(before, "before", 3)
		for i, o := range offsets {
			a.Follow(uint64(i), o, 1)
		}
		staged, high := map[int64]bool{}, int64(100)
		for _, b := range data[2:] {
			switch {
			case b < 250:
				i := int(b) % len(offsets)
				want := 0
				if o := offsets[i]; !done[o] && !staged[o] {
					staged[o], want = true, 1
				}
				if got := a.Stage(uint64(i), 1); got != want {
					t.Fatalf("Stage(%d): %d, want %d", i, got, want)
				}
			case b%2 == 0:
				c := a.StagedCommit()
				a.Settle()
				for o := range staged {
					done[o] = true
				}
				clear(staged)
				saysExactly(t, c, offsets, before, done, high)
				high = c.Offset
				if got := a.FollowedMark(); got != c.Offset || a.Counts().Committed != c.Offset {
					t.Fatalf("%d was committed, the mark is %d, committed %d", c.Offset, got, a.Counts().Committed)
				}
			default:
				before := a.FollowedMark()
				a.Unstage()
				clear(staged)
				if got := a.FollowedMark(); got != before {
					t.Fatalf("an abort moved the mark from %d to %d", before, got)
				}
			}
		}
	})
}

func saysExactly(t *testing.T, c assignment.Commit, offsets []int64, before []donemeta.Run, done map[int64]bool, high int64) {
	t.Helper()
	if c.Offset < high || c.Cut > 0 {
		t.Fatalf("%+v is committed after %d", c, high)
	}
	var runs []donemeta.Run
	if c.Set != "" {
		var err error
		if runs, err = donemeta.Parse(c.Set, donemeta.Binding{TopicID: topicID, Base: c.Offset, LeaderEpoch: -1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	all := append([]int64{}, offsets...)
	for _, r := range before {
		all = append(all, r.First)
	}
	for _, o := range all {
		said := o < c.Offset
		for _, r := range runs {
			said = said || r.First <= o && o <= r.Last
		}
		if said != done[o] {
			t.Fatalf("the commit of %d with %v says of %d: done %v", c.Offset, runs, o, said)
		}
	}
}

// A fenced assignment stages nothing; what was staged before is settled if the group has it.
func TestStagedWhenItEnds(t *testing.T) {
	a := assignment.New(assignment.Spec{TopicID: topicID, Committed: -1, Limit: 8})
	a.Follow(0, 0, 1)
	a.Follow(1, 1, 1)
	if known, open := a.Holds(0); !known || !open || a.Stage(0, 1) != 1 {
		t.Fatal("the first input is not open, or cannot be staged")
	}
	if known, open := a.Holds(2); known || open {
		t.Error("an input that did not come is known")
	}
	a.Happen(assignment.Fence)
	if a.Stage(1, 1) != 0 {
		t.Error("a fenced assignment stages an input")
	}
	a.Settle()
	if known, open := a.Holds(0); a.FollowedMark() != 1 || !known || open {
		t.Errorf("the mark is %d, the first input open: %v", a.FollowedMark(), open)
	}
}
