package verify

import (
	"slices"

	"github.com/ackmark/ackmark/internal/proof/judge"
)

// exactly is what the checker knows about transactions (S5).
type exactly struct {
	processes map[string]bool // whose outputs and offsets are committed together
	open      map[*Transaction]struct{}
	written   judge.Set           // outputs of committed transactions, by global id × PerInput + output
	letters   judge.Set           // inputs with a dead letter of a committed transaction
	takers    map[string][]string // who took a transactional id, in this order
	unread    map[Partition][]placed
	promises  []promise // acknowledgements whose offsets have to be committed
}

func newExactly() exactly {
	return exactly{
		processes: make(map[string]bool), open: make(map[*Transaction]struct{}),
		takers: make(map[string][]string), unread: make(map[Partition][]placed),
	}
}

// ExactlyOnce tells that a process commits its outputs and offsets in transactions only: an
// acknowledgement means that both are committed.
func (c *Checker) ExactlyOnce(process string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exactly.processes[process] = true
}

// forget lets an input be done again: an operator wants it.
func (x *exactly) forget(c *Checker, id uint64) {
	x.letters.Remove(id)
	for out := range c.cfg.PerInput {
		x.written.Remove(c.bit(id, out))
	}
}

// Transaction is what a producer wrote under a transactional id and has not ended. It becomes part
// of the history when it is committed, and then it is judged (S5).
type Transaction struct {
	c       *Checker
	id, by  string
	outputs []transacted
	letters [][]byte
	commits []Commit
	found   [][]Violation        // by commit: what was wrong when it was sent
	first   map[Partition]int64  // where it began
	inputs  []transacted         // somebody feeds in transactions
	covered map[Partition]change // while it is judged
}

type transacted struct {
	p          Partition
	offset     int64
	key, value []byte
}

// change is what a transaction did to what is committed of a partition.
type change struct{ before, after coverage }

// has tells whether the change covers an offset that was not covered before.
func (m change) has(offset int64) bool { return m.after.has(offset) && !m.before.has(offset) }

// Took tells that a sidecar took a transactional id, which fences all that had it before.
func (c *Checker) Took(id, taker string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exactly.takers[id] = append(c.exactly.takers[id], taker)
}

// Begun tells that a transaction began under an id that somebody took ("": nobody knows).
func (c *Checker) Begun(id, by string) *Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &Transaction{c: c, id: id, by: by, first: make(map[Partition]int64)}
	c.exactly.open[t] = struct{}{}
	return t
}

func (t *Transaction) at(p Partition, offset int64) {
	if _, begun := t.first[p]; !begun {
		t.first[p] = offset
	}
}

// Input is [Checker.Appended] in a transaction.
func (t *Transaction) Input(p Partition, offset int64, value []byte) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.at(p, offset)
	t.inputs = append(t.inputs, transacted{p: p, offset: offset, value: value})
}

// Output is [Checker.Durable] in a transaction.
func (t *Transaction) Output(p Partition, offset int64, key, value []byte) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.at(p, offset)
	t.outputs = append(t.outputs, transacted{p, offset, key, value})
}

// DeadLettered is [Checker.DeadLettered] in a transaction.
func (t *Transaction) DeadLettered(value []byte) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.letters = append(t.letters, value)
}

// Offsets tells that the transaction asks for commits. Who may commit (S2) is judged now: the
// member may lose its partition before the transaction ends, but whoever gets it waits for that.
func (t *Transaction) Offsets(commits ...Commit) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, commit := range commits {
		commit.inTransaction = true
		var found []Violation
		c.held = &found
		c.checkHeld(commit)
		c.held = nil
		t.commits, t.found = append(t.commits, commit), append(t.found, found)
		c.recent.add(commit.Partition, "asked for in a transaction of %s: %d by %s in generation %d", t.id, commit.Offset, commit.Member, commit.Generation)
	}
}

// asked tells whether a partition's offset was asked for by a member while its group had it.
// Whoever gets the partition waits for the transaction's end, whatever becomes of that member.
func (t *Transaction) asked(member string, p Partition) bool {
	for i, commit := range t.commits {
		late := func(v Violation) bool { return v.Name == ClosedCommitted }
		if commit.Member == member && commit.Partition == p && !slices.ContainsFunc(t.found[i], late) {
			return true
		}
	}
	return false
}

// Aborted tells that nothing of the transaction counts.
func (t *Transaction) Aborted() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	delete(t.c.exactly.open, t)
	t.read()
}

// Committed tells that the broker applied the transaction's end. applied tells which of its commits
// are in the group now; nil: all. Of several of a partition the last one counts.
func (t *Transaction) Committed(applied func(Commit) bool) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.exactly.open, t)
	for _, in := range t.inputs {
		c.later(in.p, in.offset, func() { c.appended(in.p, in.offset, in.value) })
	}
	wrote := t.write()
	t.commit(applied)
	t.checkOutputs(wrote)
	t.checkOffsets(wrote)
	t.checkTaker()
	t.read()
}

// read lets a read_committed reader see what the transaction held back.
func (t *Transaction) read() {
	for p := range t.first {
		t.c.readOn(p)
	}
}

// wrote is what a transaction has of one input: its outputs' numbers, or its dead letter.
type wrote struct {
	outputs map[int]bool
	letter  bool
}

// write makes everything durable, and returns what there is of each input.
func (t *Transaction) write() map[uint64]*wrote {
	c := t.c
	all := make(map[uint64]*wrote)
	of := func(id uint64) *wrote {
		if all[id] == nil {
			all[id] = &wrote{outputs: make(map[int]bool)}
		}
		return all[id]
	}
	for _, o := range t.outputs {
		id, ours := c.wrote(t, o.p, o.offset, o.key, o.value)
		if !ours {
			continue
		}
		of(id.Global).outputs[id.Out] = true
		c.exactly.written.Add(c.bit(id.Global, id.Out))
	}
	for _, value := range t.letters {
		id, ours := c.deadLettered(value)
		if !ours {
			continue
		}
		of(id.Global).letter = true
		c.exactly.letters.Add(id.Global)
	}
	return all
}

// commit judges the commits that were applied, in the state that the outputs are in now.
func (t *Transaction) commit(applied func(Commit) bool) {
	c := t.c
	t.covered = make(map[Partition]change)
	last := make(map[Partition]int)
	for i, commit := range t.commits {
		if applied == nil || applied(commit) {
			last[commit.Partition] = i
		}
	}
	if len(last) > 0 {
		c.counts.Commits++
	}
	for i, commit := range t.commits {
		if at, counts := last[commit.Partition]; !counts || at != i {
			continue
		}
		found := t.found[i]
		c.held = &found
		l := c.log(commit.Partition)
		c.checkMark(l, commit)
		c.held = nil
		before := l.covered()
		c.accepted(commit, found)
		t.covered[commit.Partition] = change{before, l.covered()}
	}
}

// checkOutputs holds S5 for what was written: its inputs are committed with it, in this very
// transaction.
func (t *Transaction) checkOutputs(all map[uint64]*wrote) {
	c := t.c
	lonely, first := 0, location{}
	for id := range all {
		at := c.home[id]
		if change, moved := t.covered[at.p]; moved && change.has(at.offset) {
			continue
		}
		if lonely++; lonely == 1 || at.offset < first.offset {
			first = at
		}
	}
	if lonely > 0 {
		c.violate(OutputsAlone, first.p, "a transaction of %s wrote for %d inputs whose offsets it does not commit, one is %s",
			t.id, lonely, c.describe(c.log(first.p), first.offset))
	}
}

// checkOffsets holds S5 for what was committed: every input that it covers and that was not covered
// before has all of its outputs, or its dead letter, in this very transaction.
func (t *Transaction) checkOffsets(all map[uint64]*wrote) {
	c := t.c
	for p, change := range t.covered {
		l := c.log(p)
		l.each(change, func(offset int64, id uint64) bool {
			w := all[id]
			if l.isExcused(offset) || w != nil && w.letter {
				return true
			}
			for out := range c.cfg.Expect(id) {
				if w == nil || !w.outputs[out] {
					c.violate(OffsetAlone, p, "a transaction of %s committed %d with a done-set of %d runs, and has not all outputs of %s",
						t.id, change.after.offset, len(change.after.set), c.describe(l, offset))
					return false // one message for each commit
				}
			}
			return true
		})
	}
}

// checkTaker holds that the younger of two sidecars stays the only one.
func (t *Transaction) checkTaker() {
	takers := t.c.exactly.takers[t.id]
	if first := slices.Index(takers, t.by); first >= 0 {
		if other := slices.IndexFunc(takers[first:], func(by string) bool { return by != t.by }); other >= 0 {
			t.c.violate(OlderGoesOn, Partition{}, "%s committed a transaction of %s, which %s had taken from it", t.by, t.id, takers[first+other])
		}
	}
}

// each calls do for the inputs that a change covers for the first time, until it returns false.
func (l *inputLog) each(m change, do func(offset int64, id uint64) bool) {
	run := func(from, to int64) bool {
		for o := max(from, l.base); o <= min(to, l.end()-1); o++ {
			if id, ok := l.id(o); ok && !m.before.has(o) && !do(o, id) {
				return false
			}
		}
		return true
	}
	if !run(m.before.offset, m.after.offset-1) {
		return
	}
	for _, r := range m.after.set {
		if !run(r.First, r.Last) {
			return
		}
	}
}

// checkBeside holds that nobody commits past the transactions of an exactly-once process: the
// broker fences no plain commit of a sidecar that was replaced. What a stay begins with may be
// committed so, as no unit of it exists yet.
func (c *Checker) checkBeside(l *inputLog, commit Commit) {
	start, exactlyOnce := commit.Offset, false
	for key, e := range c.byNumber {
		exactlyOnce = exactlyOnce || e.member == commit.Member && c.exactly.processes[key.process]
	}
	if !exactlyOnce {
		return
	}
	if e := c.epochs[commit.Partition]; e != nil && e.member == commit.Member {
		start = e.start
	}
	l.each(change{l.covered(), coverage{commit.Offset, commit.Set}}, func(offset int64, _ uint64) bool {
		if offset < start || l.isExcused(offset) {
			return true
		}
		c.violate(CommitBeside, commit.Partition, "%s (generation %d) committed %d in no transaction, over %s", commit.Member, commit.Generation, commit.Offset, c.describe(l, offset))
		return false
	})
}

// finishTransactions finds what nobody has ended: readers wait for it. Where there is nothing to
// read, the log does not tell whether it has ended; whoever waits for its offsets does (LagLeft).
func (c *Checker) finishTransactions() {
	for t := range c.exactly.open {
		if len(t.first) == 0 {
			continue
		}
		c.violate(LeftOpen, Partition{}, "one of %s with %d outputs, %d dead letters and %d commits", t.id, len(t.outputs), len(t.letters), len(t.commits))
	}
}
