package verify

import "fmt"

// Bound is how many duplicates an incident may cause: S6, for the partitions that it concerned.
type Bound struct {
	Incident   string
	Partitions int
	Unacked    int // inputs handed out whose outputs are not durable: they may be emitted again, and a lost reply makes that visible
	Done       int // inputs done since the last commit, and not in its done-set
}

// Total is the bound.
func (b Bound) Total() int { return b.Unacked + b.Done }

func (b Bound) String() string {
	return fmt.Sprintf("%s: at most %d duplicates (%d in flight, %d done and not committed, in %d partitions)", b.Incident, b.Total(), b.Unacked, b.Done, b.Partitions)
}

// Incident tells that something happened after which these partitions (none: all) may be read again
// from their last commit: a process and its sidecar were killed, a session lost. Called when it has
// happened. Each input that was handed out and neither committed nor in the last commit's done-set
// by then may repeat once more, and no other (S6). Where nobody feeds HandedOut, each that was fed
// counts as handed out.
func (c *Checker) Incident(name string, ps ...Partition) Bound {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Incidents++
	if len(ps) == 0 {
		for p := range c.inputs {
			ps = append(ps, p)
		}
	}
	b := Bound{Incident: name, Partitions: len(ps)}
	for _, p := range ps {
		l := c.log(p)
		done, unacked := c.repeatable(l, l.committed)
		b.Done += done
		b.Unacked += unacked
		c.recent.add(p, "incident: %s", name)
	}
	return b
}

// IncidentFrom is Incident for a holder that does not know of its successor: what it has in flight
// begins at its own ack mark, and may be committed already.
func (c *Checker) IncidentFrom(name string, p Partition, mark int64) Bound {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Incidents++
	b := Bound{Incident: name, Partitions: 1}
	b.Done, b.Unacked = c.repeatable(c.log(p), mark)
	c.recent.add(p, "incident: %s", name)
	return b
}

// MayRepeat lets one input repeat once more, whether the checker has seen it in the log yet or not:
// a consumer may be faster.
func (c *Checker) MayRepeat(name string, p Partition, value []byte) {
	id, err := Parse(value)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Incidents++
	c.mayRepeat[id.Global]++
	c.recent.add(p, "incident of input %v: %s", id, name)
}

// repeatable allows one more occurrence for what was handed out at or above an offset.
func (c *Checker) repeatable(l *inputLog, from int64) (done, unacked int) {
	for o := max(from, l.base); o < l.end(); o++ {
		id, ok := l.id(o)
		if !ok || (c.tracksHandler && !c.handed.Has(id)) || l.covered().has(o) {
			continue
		}
		c.mayRepeat[id]++
		if c.done(id) {
			done++
		} else {
			unacked++
		}
	}
	return done, unacked
}

// checkDuplicate holds S6 for each output by itself, which is sharper than the sum: an input that
// was committed before the incident may not repeat, however few others do.
func (c *Checker) checkDuplicate(p Partition, offset int64, id ID) {
	bit := c.bit(id.Global, id.Out)
	c.repeats[bit]++
	if c.exactly.written.Has(bit) {
		at := c.home[id.Global]
		c.violate(OutputTwice, at.p, "output %v again, at %v offset %d: a transaction had committed it with its offset %d", id, p, offset, at.offset)
		return
	}
	if c.cfg.DuplicatesAllowed || c.repeats[bit] <= c.mayRepeat[id.Global] {
		return
	}
	at := c.home[id.Global]
	l := c.log(at.p)
	c.violate(TooManyDuplicates, at.p, "output %v again, at %v offset %d: occurrence %d, %d incidents explain a repetition; its input is offset %d, committed is %d",
		id, p, offset, c.repeats[bit]+1, c.mayRepeat[id.Global], at.offset, l.committed)
}

// MemorySample checks a measured size against its stated bound (S9).
func (c *Checker) MemorySample(what string, bytes, bound int64) {
	if bytes <= bound {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violate(MemoryExceeded, Partition{}, "%s: %d bytes, the bound is %d", what, bytes, bound)
}
