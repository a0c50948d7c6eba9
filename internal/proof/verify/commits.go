package verify

import (
	"slices"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/sentinel"
)

// Commit is one committed offset, as the broker accepted it.
type Commit struct {
	Member     string
	Instance   string // of a static member
	Generation int32
	Partition  Partition
	Offset     int64
	Metadata   string
	// Set is the done-set in the metadata. SetError: it claims to be one, and is none of this
	// commit.
	Set      []donemeta.Run
	SetError error
	// LogEnd is where the partition's log ends, behind control records; 0: behind the last record
	// that was seen.
	LogEnd int64
	// LeaderEpoch is the committed one. A will knows none (−1).
	LeaderEpoch int32

	inTransaction bool
}

// byWill tells a will's commit from a process's own. In transactions nobody commits for the dead.
func (c Commit) byWill() bool { return c.LeaderEpoch < 0 && !c.inTransaction }

// holder is who holds a partition.
type holder struct {
	member     string
	generation int32 // in which the member got it
	gone       bool  // it holds it no longer, and nobody else has it yet
	until      int32 // then: the group's latest generation
}

// Assigned tells that a member holds partitions from a generation on. It is not needed again while
// it keeps them.
func (c *Checker) Assigned(member string, generation int32, ps ...Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tracksHolders = true
	c.generation = max(c.generation, generation)
	for _, p := range ps {
		if h, ok := c.holders[p]; ok && h.member == member && !h.gone {
			continue
		}
		c.holders[p] = holder{member: member, generation: generation}
		c.recent.add(p, "assigned to %s in generation %d", member, generation)
	}
}

// Unassigned tells that a member does not hold partitions any more: it answered for their
// revocation, left, or was expelled.
func (c *Checker) Unassigned(member string, ps ...Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range ps {
		if h := c.holders[p]; h.member == member && !h.gone {
			h.gone, h.until = true, c.generation
			c.holders[p] = h
			c.recent.add(p, "no longer held by %s", member)
		}
	}
}

// Request is a commit request on its way: judged when it came, counted if the broker accepts it.
type Request struct {
	c       *Checker
	commits []Commit
	found   [][]Violation // by commit
}

// Requested judges a commit request in the state that the broker is in before it applies it (S1,
// S2, S3, S4). What it finds becomes a violation with [Request.Accepted]: a request that the broker
// refuses breaks nothing.
func (c *Checker) Requested(commits ...Commit) *Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleClaims()
	r := &Request{c: c, commits: commits, found: make([][]Violation, len(commits))}
	for i, commit := range commits {
		c.held = &r.found[i]
		l := c.log(commit.Partition)
		c.checkHeld(commit)
		c.checkMark(l, commit)
		c.checkBeside(l, commit)
		c.held = nil
	}
	return r
}

// checkMark judges what a commit says (S1, S3, S4), whoever makes it.
func (c *Checker) checkMark(l *inputLog, commit Commit) {
	c.checkForward(l, commit)
	c.checkDone(l, commit)
	c.checkSet(l, commit)
	c.checkKept(l, commit)
	c.checkEpoch(l, commit)
}

// Accepted tells that the broker applied the commits with these indices, all if there are none.
func (r *Request) Accepted(indices ...int) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Commits++
	for i, commit := range r.commits {
		if len(indices) > 0 && !slices.Contains(indices, i) {
			continue
		}
		c.accepted(commit, r.found[i])
	}
}

func (c *Checker) accepted(commit Commit, found []Violation) {
	c.counts.CommittedPartitions++
	c.log(commit.Partition).commit(commit)
	c.counts.SetInputs += uint64(coverage{set: commit.Set}.inSet())
	for _, v := range found {
		c.report(v)
	}
	delete(c.silence.refused, commit.Member)
	c.recent.add(commit.Partition, "committed %d by %s in generation %d, done above: %v", commit.Offset, commit.Member, commit.Generation, commit.Set)
}

// CommitRefused tells that the broker took nothing of a member's commit: the group has moved on, or
// asks for patience.
func (c *Checker) CommitRefused(commits ...Commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, commit := range commits {
		c.silence.refused[commit.Member] = true
		c.recent.add(commit.Partition, "refused: %d by %s in generation %d", commit.Offset, commit.Member, commit.Generation)
	}
}

// Committed is a request and its acceptance at once.
func (c *Checker) Committed(commits ...Commit) { c.Requested(commits...).Accepted() }

// checkDone holds S1.
func (c *Checker) checkDone(l *inputLog, commit Commit) {
	if end := max(l.end(), l.firstOpen, commit.LogEnd); commit.Offset > end {
		c.violate(CommitBeyondLog, commit.Partition, "%s committed %d, the log ends at %d", commit.Member, commit.Offset, end)
	}
	first := c.firstNotDone(l)
	if first >= l.end() || !sentinel.IsBeyond(commit.Offset, first) {
		return
	}
	open := 0
	for o := first; o < min(commit.Offset, l.end()); o++ {
		if id, ok := l.id(o); ok && !c.done(id) && !l.isExcused(o) {
			open++
		}
	}
	c.violate(PrematureCommit, commit.Partition, "%s (generation %d) committed %d over %d inputs that are not done, the first at %s",
		commit.Member, commit.Generation, commit.Offset, open, c.describe(l, first))
}

// checkHeld holds S2. Without any assignment nobody feeds them, and nothing is known.
//
// The dead cannot say what they had let go of a moment before: a process that lost its membership
// joins again without its partitions, and may be killed before its sidecar hears of that, or be cut
// off from it until its will is executed. The
// will's commit in the generation that still stands takes nothing from anybody: whoever gets the
// partition gets it in the next one, reads the offset then, and from then on the broker refuses
// this one. Nor does a transaction's, of what its member lost without a word and has not joined
// without, as the broker sees it: the outputs come with it.
func (c *Checker) checkHeld(commit Commit) {
	if commit.Member == "" || commit.Generation < 0 {
		c.violate(CommitAnonymous, commit.Partition, "committed %d as member %q, generation %d", commit.Offset, commit.Member, commit.Generation)
		return
	}
	if since, left := c.silence.left[commit.Member]; left && commit.Generation < since {
		c.violate(ClosedCommitted, commit.Partition, "%s (generation %d) committed %d after it had left the group", commit.Member, commit.Generation, commit.Offset)
		return
	}
	if !c.tracksHolders {
		return
	}
	h, known := c.holders[commit.Partition]
	switch {
	case known && h.gone && h.member == commit.Member && commit.Generation >= h.generation && (c.silentMember(commit.Member) || c.unheard(commit) || commit.inTransaction && commit.Generation <= h.until):
	case !known || h.gone:
		c.violate(CommitNotHeld, commit.Partition, "%s (generation %d) committed %d; nobody holds it", commit.Member, commit.Generation, commit.Offset)
	case h.member != commit.Member:
		c.violate(CommitNotHeld, commit.Partition, "%s (generation %d) committed %d; %s holds it since generation %d",
			commit.Member, commit.Generation, commit.Offset, h.member, h.generation)
	case commit.Generation < h.generation:
		c.violate(CommitStale, commit.Partition, "%s committed %d in generation %d; it holds the partition since generation %d",
			commit.Member, commit.Offset, commit.Generation, h.generation)
	}
}

// checkForward holds S3, also across members: the next one begins where the last commit was. The
// commit that a process had on its way when it died may reach the broker after its will's. Nobody
// can prevent that; the will must have repaired it before it leaves the group (RewindLeft). A
// static member is not left, so if its process lives and was only cut off, what it commits before
// it hears of the will may be less than the will's.
func (c *Checker) checkForward(l *inputLog, commit Commit) {
	if commit.Offset < l.committed && !c.mayBeLate(l, commit) {
		c.violate(CommitBack, commit.Partition, "%s (generation %d) committed %d after %d", commit.Member, commit.Generation, commit.Offset, l.committed)
	}
}

// mayBeLate tells a commit that may say less than the one before it. In a transaction none may: its
// producer is fenced before somebody else commits.
func (c *Checker) mayBeLate(l *inputLog, commit Commit) bool {
	return !commit.inTransaction && (l.outlived(commit) || c.silentMember(commit.Member) || c.metWill(l, commit))
}

// outlived tells a commit that a static member makes after a will made one in its name: a will
// knows no leader epoch.
func (l *inputLog) outlived(commit Commit) bool {
	return commit.Instance != "" && l.last.Member == commit.Member && l.last.Generation == commit.Generation && l.last.byWill()
}

// metWill tells a commit that a living process, cut off from its sidecar, makes right after its
// will's. As with a dead one the will must have repaired it before it leaves the group
// (RewindLeft).
func (c *Checker) metWill(l *inputLog, commit Commit) bool {
	e := c.epochs[commit.Partition]
	return e != nil && e.unheard && e.member == commit.Member &&
		l.last.Member == commit.Member && l.last.Generation == commit.Generation && l.last.byWill()
}

// Reset tells that an operator set the group's offset: the next commits follow from there, and what
// lies above repeats by intent.
func (c *Checker) Reset(p Partition, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.log(p)
	l.committed, l.set, l.best = offset, nil, coverage{offset: offset}
	c.repeatable(l, offset)
	for o := max(offset, l.base); o < l.end(); o++ {
		if id, ok := l.id(o); ok {
			c.handed.Remove(id) // no done-set may swallow it: it has to be handed out again (S11)
			c.exactly.forget(c, id)
		}
	}
	c.recent.add(p, "offset reset to %d by the operator", offset)
}

// CommitSent tells that a client wrote a commit request. A second one before the answer breaks S3.
func (c *Checker) CommitSent(client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent[client]++; c.sent[client] > 1 {
		c.violate(CommitOverlap, Partition{}, "client %s sent a commit while %d of its commits had no answer", client, c.sent[client]-1)
	}
}

// CommitAnswered tells that a sent commit got its answer, or that its connection ended. cancelled:
// the client itself stopped waiting.
func (c *Checker) CommitAnswered(client string, cancelled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent[client] > 0 {
		c.sent[client]--
	}
	if cancelled {
		c.violate(CommitCancelled, Partition{}, "client %s gave up a commit that was sent: whether it applies is unknown", client)
	}
}
