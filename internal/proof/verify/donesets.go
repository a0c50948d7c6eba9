package verify

import (
	"slices"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// coverage is what a commit says is done: everything below an offset, and a done-set at or above
// it.
type coverage struct {
	offset int64 // −1: nothing was committed
	set    []donemeta.Run
}

func (c coverage) has(offset int64) bool {
	if offset < c.offset {
		return true
	}
	_, found := slices.BinarySearchFunc(c.set, offset, func(r donemeta.Run, o int64) int {
		switch {
		case r.Last < o:
			return -1
		case r.First > o:
			return 1
		}
		return 0
	})
	return found
}

// nearlyFull is the length of a metadata text from which on a shorter set than before is no
// mistake: the rest did not fit.
const nearlyFull = donemeta.MaxText - 256

// checkSet holds S1 for a done-set: it is one of this very commit, and every input in it is done.
func (c *Checker) checkSet(l *inputLog, commit Commit) {
	if commit.SetError != nil {
		c.violate(DoneSetForeign, commit.Partition, "%s (generation %d) committed %d with a done-set that nobody can read: %v",
			commit.Member, commit.Generation, commit.Offset, commit.SetError)
		return
	}
	end := max(l.end(), commit.LogEnd)
	for _, r := range commit.Set {
		if r.Last >= end {
			c.violate(CommitBeyondLog, commit.Partition, "%s committed %d with %d to %d as done, the log ends at %d", commit.Member, commit.Offset, r.First, r.Last, end)
		}
		for o := r.First; o <= min(r.Last, l.end()-1); o++ {
			if id, ok := l.id(o); ok && !c.done(id) && !l.isExcused(o) {
				c.violate(DoneSetWrong, commit.Partition, "%s (generation %d) committed %d with %d to %d as done, but not done is %s",
					commit.Member, commit.Generation, commit.Offset, r.First, r.Last, c.describe(l, o))
				return // one message for each commit
			}
		}
	}
}

// checkKept holds that a done-set only grows until the offset passes it: what a later commit
// forgets is done again after the next death (S6).
func (c *Checker) checkKept(l *inputLog, commit Commit) {
	if len(commit.Metadata) > nearlyFull || commit.Offset < l.committed || c.mayBeLate(l, commit) {
		return
	}
	now := coverage{commit.Offset, commit.Set}
	for _, r := range l.set {
		for o := max(r.First, commit.Offset); o <= r.Last; o++ {
			if _, ok := l.id(o); ok && !now.has(o) {
				c.violate(DoneSetForgot, commit.Partition, "%s (generation %d) committed %d without %s, which the commit of %d before had in its done-set",
					commit.Member, commit.Generation, commit.Offset, c.describe(l, o), l.committed)
				return
			}
		}
	}
}

// commit takes over an accepted commit. A process that is dead or stopped may have had one on its
// way, which the broker takes after its will's: what was best is remembered until somebody has
// repaired that.
func (l *inputLog) commit(commit Commit) {
	l.committed, l.set, l.last = commit.Offset, commit.Set, commit
	if now := l.covered(); now.offset > l.best.offset || now.offset == l.best.offset && now.inSet() >= l.best.inSet() {
		l.best, l.whole = now, false // nobody has read that yet
	}
}

func (c coverage) inSet() (n int64) {
	for _, r := range c.set {
		n += r.Last - r.First + 1
	}
	return n
}

func (l *inputLog) covered() coverage { return coverage{l.committed, l.set} }

// lacking returns the first input that the best commit had and the last one has not.
func (l *inputLog) lacking() (int64, bool) {
	now := l.covered()
	end := l.best.offset
	if n := len(l.best.set); n > 0 {
		end = max(end, l.best.set[n-1].Last+1)
	}
	for o := max(now.offset, l.base); o < min(end, l.end()); o++ {
		if _, ok := l.id(o); ok && l.best.has(o) && !now.has(o) {
			return o, true
		}
	}
	return 0, false
}

// Recreated tells that a topic was deleted and exists again: its log begins anew, nothing is
// committed, and nothing of the old one is judged any more.
func (c *Checker) Recreated(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.inputs {
		if p.Topic != topic {
			continue
		}
		c.inputs[p] = newInputLog()
		delete(c.epochs, p)
		c.recent.add(p, "the topic was created again")
	}
	for key, e := range c.byNumber {
		if e.p.Topic == topic {
			delete(c.byNumber, key)
		}
	}
}

// HandedOutBy is HandedOut of somebody who says in which assignment: then an input is found that
// was done before the assignment began and is done again, although the commit that the assignment
// began from says so (S6).
func (c *Checker) HandedOutBy(process string, number uint64, p Partition, offset int64, value []byte) {
	c.HandedOut(p, offset, value)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byNumber[epochKey{process, number}]
	if e == nil || c.epochs[p] != e || !e.inherited.has(offset) {
		return
	}
	c.violate(HandedAgain, p, "%s was given offset %d in epoch %d, which began at %d with a done-set that has it", process, offset, number, e.start)
}
