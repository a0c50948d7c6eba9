package assignment

import "github.com/ackmark/ackmark/internal/donemeta"

// In exactly-once, inputs are done by a transaction that commits their offsets with their outputs.
// What is in it is staged: open, until the transaction's outcome is known.

// Stage notes that n inputs from an index on are done if the transaction commits, and returns how
// many of them were open and not staged before. A fenced assignment stages nothing.
func (a *Assignment) Stage(index uint64, n int) int {
	if a.state.Over() || index < a.spec.Base {
		return 0
	}
	return a.tracker.Stage(index-a.spec.Base, n)
}

// Unstage takes back every Stage: the transaction was aborted.
func (a *Assignment) Unstage() { a.tracker.Unstage() }

// Settle ends what is staged: the transaction was committed. A fenced assignment does so, too,
// since the group has its offset.
func (a *Assignment) Settle() {
	a.done += int64(a.tracker.Settle())
	a.committed = max(a.committed, a.FollowedMark())
	a.inherited.Forget(a.tracker.Mark())
}

// StagedCommit is what a transaction commits of a follower: its ack mark and done-set as they will
// be when all that is staged is done. The leader epoch is left out, as in a will: that of the
// record before the mark is not known.
func (a *Assignment) StagedCommit() Commit {
	c := Commit{Offset: a.inherited.MarkStaged(a.tracker), LeaderEpoch: -1}
	if a.spec.TopicID != ([16]byte{}) {
		runs := a.inherited.UnionStaged(a.tracker, c.Offset, nil)
		text, kept := donemeta.Append(nil, donemeta.Binding{TopicID: a.spec.TopicID, Base: c.Offset, LeaderEpoch: -1}, runs)
		c.Set, c.Cut = string(text), len(runs)-kept
	}
	return c
}

// Holds tells whether an input was entered, or done before it was heard of, and whether it is open.
func (a *Assignment) Holds(index uint64) (known, open bool) {
	if index < a.spec.Base {
		return true, false
	}
	return a.tracker.Holds(index - a.spec.Base)
}
