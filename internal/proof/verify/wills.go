package verify

import (
	"math"

	"github.com/ackmark/ackmark/internal/sentinel"
)

// silence is what the checker knows about processes that cannot speak for themselves, and about
// members that somebody left the group for.
type silence struct {
	processes map[string]bool // killed, or stopped for now
	cutOff    map[string]bool // from the sidecar
	ownWay    map[string]bool // have a producer of their own beside the sidecar
	refused   map[string]bool // members whose last commit request the broker refused
	// left are members that left, each with the epoch from which on it may commit again: never,
	// until it comes back.
	left map[string]int32
}

func newSilence() silence {
	return silence{
		processes: map[string]bool{}, cutOff: map[string]bool{}, ownWay: map[string]bool{}, refused: map[string]bool{},
		left: map[string]int32{},
	}
}

// ProcessStopped tells that a process does not run, for now (SIGSTOP).
func (c *Checker) ProcessStopped(process string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence.processes[process] = true
}

// ProcessContinued tells that a stopped process runs again.
func (c *Checker) ProcessContinued(process string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.silence.processes, process)
}

// CutOff tells that a process and its sidecar cannot hear each other from now on, or can again.
func (c *Checker) CutOff(process string, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence.cutOff[process] = off
	for _, e := range c.byNumber {
		if e.process == process && off {
			e.unheard = true
		}
	}
}

// unheard tells whether this is a will's commit (a will knows no leader epoch) of an assignment
// whose process could not tell its sidecar that it lost it.
func (c *Checker) unheard(commit Commit) bool {
	e := c.epochs[commit.Partition]
	return commit.byWill() && e != nil && e.unheard && e.member == commit.Member
}

// HasOwnWay tells that a process may also write its outputs itself, past the sidecar: the end of
// its session does not end them.
func (c *Checker) HasOwnWay(process string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence.ownWay[process] = true
}

// silentMember tells whether the process behind a member is killed or stopped.
func (c *Checker) silentMember(member string) bool {
	for _, e := range c.byNumber {
		if e.member == member && c.silence.processes[e.process] {
			return true
		}
	}
	return false
}

// Released tells that a process gave these assignments up: a will may not name them any more.
func (c *Checker) Released(process string, numbers ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silence.processes[process] { // what a dead process says in a simulation nobody hears
		return
	}
	for _, n := range numbers {
		if e := c.byNumber[epochKey{process, n}]; e != nil {
			e.released = true
		}
	}
}

// Left tells that a member left the group. byWill: its sidecar did that for it. Then its session is
// closed, and what it had received is finished and committed: nothing of it is written any more
// (S8), and nothing that was written is done again (S6).
func (c *Checker) Left(member string, byWill bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence.left[member] = math.MaxInt32
	if !byWill {
		return
	}
	c.counts.Wills++
	for _, e := range c.byNumber {
		if e.member != member || e.closed { // or a former will has closed it, before its member came back
			continue
		}
		e.closed = true
		l := c.log(e.p)
		l.closed = append(l.closed, e)
		c.recent.add(e.p, "a will left the group for %s (%s, epoch %d)", member, e.process, e.number)
		if c.epochs[e.p] == e && !e.released {
			c.checkWill(l, e)
		}
	}
}

// Joined tells that the broker took a member in that was not there, in this epoch or a later one.
// In the consumer protocol clients make their own ids: who lost its connections when its will had
// just left for it does not hear of that, and joins again under the id it has. Kafka takes its
// commits from then on, and none of an epoch before: its partitions are assigned to it anew.
func (c *Checker) Joined(member string, epoch int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, left := c.silence.left[member]; left {
		c.silence.left[member] = epoch
	}
}

// checkWill is for an assignment that a will ended. Where the broker refused the will's commit,
// because the group had moved on, there is nothing to find. Nor where an incident explains the
// repeat: what a former sidecar wrote and did not report before it died, this one may not have
// received again.
func (c *Checker) checkWill(l *inputLog, e *epoch) {
	if o, lacks := l.lacking(); lacks && l.whole {
		// A commit of the dead process came after the will had read for the last time, and before
		// the group was left. Nobody can prevent that, and the broker takes none after it: what was
		// done since that commit was sent is done again.
		e.raced, l.best = true, l.covered()
		c.counts.Raced++
		c.recent.add(e.p, "a late commit of %s, after its will's last reading", e.member)
		return
	} else if lacks {
		c.violate(RewindLeft, e.p, "%s was left with %d committed, below what was committed before: %s", e.member, l.committed, c.describe(l, o))
		return
	}
	if c.silence.refused[e.member] {
		return
	}
	now := l.covered()
	for o := max(l.committed, l.base); o < l.end(); o++ {
		id, ok := l.id(o)
		if ok && !now.has(o) && c.cfg.Expect(id) > 0 && e.had(o) && c.done(id) && !c.othersHad(e, o) && !c.repeatExplained(id) {
			c.violate(WillIncomplete, e.p, "%s was left with %d committed and a done-set of %d runs, but done is also %s", e.member, l.committed, len(l.set), c.describe(l, o))
			return
		}
	}
}

// repeatExplained tells whether the first output of an input may occur once more.
func (c *Checker) repeatExplained(id uint64) bool { return c.repeats[c.bit(id, 0)] < c.mayRepeat[id] }

// had tells whether an assignment handed an input's unit over.
func (e *epoch) had(offset int64) bool {
	return offset >= e.start && e.delivered.Has(uint64(offset-e.start))
}

// othersHad tells whether an assignment other than this one handed the input's unit over: then an
// output may be theirs, and this one's may never have arrived.
func (c *Checker) othersHad(than *epoch, offset int64) bool {
	for _, e := range c.byNumber {
		if e != than && e.p == than.p && e.had(offset) {
			return true
		}
	}
	return false
}

// Willed tells whether a will has ended this assignment, with all of its commits accepted: then
// nothing of it may repeat.
func (c *Checker) Willed(process string, number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byNumber[epochKey{process, number}]
	return e != nil && e.closed && !e.released && !e.raced && !c.silence.refused[e.member]
}

// OffsetsRead tells that somebody reads all of the group's offsets: a will does, before it leaves.
// What takes its commit back after that it cannot repair.
func (c *Checker) OffsetsRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.inputs {
		_, lacks := l.lacking()
		l.whole = !lacks
	}
}

// checkClosed holds S8: an output that only closed sessions were ever given to write. A transaction
// may end later that has its offset: one of the closed ones had asked for that before.
func (c *Checker) checkClosed(in *Transaction, p Partition, offset int64, id ID) {
	at := c.home[id.Global]
	l := c.log(at.p)
	var by *epoch
	closed, living := 0, 0
	for _, e := range l.closed {
		if e.had(at.offset) && !c.silence.ownWay[e.process] && !e.elsewhere {
			if in != nil && in.asked(e.member, at.p) {
				return
			}
			by = e
			closed++
		}
	}
	if by == nil {
		return
	}
	for _, e := range c.byNumber {
		if e.p == at.p && !e.closed && e.had(at.offset) {
			living++ // somebody else had it, too
		}
	}
	if !sentinel.IsClosed(closed, living) {
		return
	}
	c.violate(ClosedWrote, at.p, "output %v at %v offset %d: only %s had its input (epoch %d), for which a will has left the group; the input is offset %d",
		id, p, offset, by.process, by.number, at.offset)
}

// Unreported lets what a process handed over and has no report of repeat once more: it is sent
// again to another sidecar, or its partition is given up with it on its way. No partitions: all, to
// another sidecar, which does not know the sessions that the former one closed (S8 is for a
// sidecar's life). It returns how many inputs that are (W).
func (c *Checker) Unreported(why, process string, ps ...Partition) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Incidents++
	concerned := map[Partition]bool{}
	for _, p := range ps {
		concerned[p] = true
	}
	for _, e := range c.byNumber {
		e.elsewhere = e.elsewhere || e.process == process && len(ps) == 0
	}
	n := 0
	for d := range c.deliveries {
		if d.process != process {
			continue
		}
		for i := range d.units {
			at := d.partition(i)
			if d.reported.Has(uint64(i)) || len(ps) > 0 && !concerned[at] {
				continue
			}
			if id, ok := c.log(at).id(d.units[i].Offset); ok {
				c.mayRepeat[id]++
				n++
				c.recent.add(at, "offset %d may repeat: %s", d.units[i].Offset, why)
			}
		}
	}
	for _, e := range c.byNumber {
		if e.process != process || !concerned[e.p] || e.released {
			continue
		}
		for _, offset := range e.fenced {
			if id, ok := c.log(e.p).id(offset); ok {
				c.mayRepeat[id]++
				n++
			}
		}
		e.fenced = nil
	}
	return n
}

// LastCommitRefused tells whether the broker took nothing of the last commit of the member that had
// this assignment.
func (c *Checker) LastCommitRefused(process string, number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byNumber[epochKey{process, number}]
	return e != nil && c.silence.refused[e.member]
}

// Holds tells whether the broker still takes a process for the holder of the partition of this
// assignment.
func (c *Checker) Holds(process string, number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byNumber[epochKey{process, number}]
	if e == nil {
		return false
	}
	h := c.holders[e.p]
	return h.member == e.member && !h.gone
}
