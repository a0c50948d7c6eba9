package verify

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/proof/judge"
)

// epoch is one assignment epoch of a partition, as the process that holds it announced it.
type epoch struct {
	number  uint64
	process string
	member  string
	p       Partition
	start   int64
	acked   judge.Set // offsets - start
	// delivered: handed over to the producer. A will knows the fate of units whose reports nobody
	// could read any more.
	delivered judge.Set
	inherited coverage // what the commit that it began from says is done
	fenced    []int64  // reported as gone: the sidecar closed the session, what was on its way may be in Kafka or not
	released  bool     // given up by its process
	elsewhere bool     // its process reached another sidecar since it began
	unheard   bool     // its process was cut off from the sidecar: whether that heard of the end is not known
	closed    bool     // ended by a will
	raced     bool     // … which a late commit of its process took back at the last moment
	checked   int64    // every input from start to here is acked in this epoch
}

type epochKey struct {
	process string
	number  uint64
}

// EpochStart tells that a process begins an assignment of a partition. Epoch numbers are unique in
// a process.
func (c *Checker) EpochStart(process string, number uint64, member string, p Partition, start int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Epochs++
	e := &epoch{number: number, process: process, member: member, p: p, start: start, checked: start, unheard: c.silence.cutOff[process]}
	if l := c.log(p); l.committed == start {
		e.inherited = l.covered()
	}
	c.epochs[p] = e
	c.byNumber[epochKey{process, number}] = e
	c.recent.add(p, "%s (%s) begins epoch %d at %d", process, member, number, start)
}

// EpochMember tells that the process goes on with its epochs under another member id: it joined
// again.
func (c *Checker) EpochMember(process, member string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.epochs {
		if e.process == process {
			e.member = member
		}
	}
}

// checkEpoch holds S4: whatever is durable by somebody's earlier work, a commit must be explained
// by units that were done in the assignment it is made from. A tracker that counts an old ack is
// right by luck, until it is not.
func (c *Checker) checkEpoch(l *inputLog, commit Commit) {
	e := c.epochs[commit.Partition]
	if e == nil || e.member != commit.Member {
		return // nobody announces epochs, or S2 has said what is to say
	}
	if commit.Offset < e.start {
		c.violate(CommitBelowStart, commit.Partition, "%s committed %d in epoch %d, which began at %d", commit.Member, commit.Offset, e.number, e.start)
		return
	}
	for ; e.checked < min(commit.Offset, l.end()); e.checked++ {
		if !c.explained(l, e, e.checked, commit) {
			c.violate(OldAckCounted, commit.Partition, "%s committed %d in epoch %d (from %d), in which no unit was done for %s",
				commit.Member, commit.Offset, e.number, e.start, c.describe(l, e.checked))
			return // one message for each commit, not for each input
		}
	}
	for _, run := range commit.Set {
		for o := max(run.First, e.start); o <= min(run.Last, l.end()-1); o++ {
			if !c.explained(l, e, o, commit) {
				c.violate(OldAckCounted, commit.Partition, "%s committed %d in epoch %d (from %d) with a done-set, but no unit was done in it for %s",
					commit.Member, commit.Offset, e.number, e.start, c.describe(l, o))
				return
			}
		}
	}
}

// explained tells whether an input may be called done in an assignment: it was done in it, or the
// commit that the assignment began from said so. A will, which commits without a leader epoch,
// knows what became of units after the last report that their process could read. And it may know
// of an earlier assignment only: its process lost that one, was given the partition again, and died
// before it could say so. What was done in it stays done.
func (c *Checker) explained(l *inputLog, e *epoch, offset int64, commit Commit) bool {
	id, ok := l.id(offset)
	if !ok || c.cfg.Expect(id) == 0 || l.isExcused(offset) || e.acked.Has(uint64(offset-e.start)) || e.inherited.has(offset) {
		return true
	}
	if commit.inTransaction { // it is acknowledged when the transaction is committed, not before
		return e.had(offset)
	}
	return commit.byWill() && c.done(id) && c.handedOver(e, offset)
}

// handedOver tells whether the process of an assignment handed an input's unit over, in this
// assignment or an earlier one of the partition.
func (c *Checker) handedOver(e *epoch, offset int64) bool {
	if e.had(offset) {
		return true
	}
	for _, other := range c.byNumber {
		if other.process == e.process && other.p == e.p && other.had(offset) {
			return true
		}
	}
	return false
}

// Unit is a unit as the pipeline hands it over.
type Unit struct {
	Epoch   uint64 // 0: no input
	Offset  int64
	Outputs [][]byte // values
}

// Delivery is one call that handed units over. Each of them must be reported exactly once (S12).
type Delivery struct {
	c        *Checker
	process  string
	units    []Unit
	ids      [][]ID
	reported judge.Set
}

// claim is an acknowledged output that must be in the log.
type claim struct {
	process string
	at      Partition
	id      ID
}

// promise is an acknowledged unit of an exactly-once process: its input's offset must be committed.
type promise struct {
	process string
	at      Partition
	offset  int64
}

// Delivered tells that a process hands units over, and takes over the slice. Called before the
// producer gets them, so that no report can be earlier.
func (c *Checker) Delivered(process string, units []Unit) *Delivery {
	d := &Delivery{c: c, process: process, units: units, ids: make([][]ID, len(units))}
	for i, u := range units {
		for _, value := range u.Outputs {
			if id, err := Parse(value); err == nil {
				d.ids[i] = append(d.ids[i], id)
			}
		}
		units[i].Outputs = nil // theirs again: the producer may reuse the bytes once the unit is reported
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Units += uint64(len(units))
	for _, u := range units {
		if e := c.byNumber[epochKey{process, u.Epoch}]; e != nil && u.Offset >= e.start {
			e.delivered.Add(uint64(u.Offset - e.start))
		}
	}
	if len(units) > 0 {
		c.deliveries[d] = struct{}{}
	}
	return d
}

// Refused tells that the producer took none of the units: no report may come, and none has to.
func (d *Delivery) Refused() {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	delete(d.c.deliveries, d)
	if d.reported.Len() > 0 {
		d.c.violate(WrongUnitReference, Partition{}, "%s: %d units were reported of a call that took none", d.process, d.reported.Len())
	}
}

// Acked tells that the units [first, first+n) were reported as done. Called before the pipeline
// learns it.
func (d *Delivery) Acked(first, n int) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	for i := first; i < first+n; i++ {
		if d.report(i, "acked") {
			d.acked(i)
		}
	}
}

// Failed tells that a unit was reported as failed.
func (d *Delivery) Failed(unit int, err error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if d.report(unit, fmt.Sprintf("failed (%v)", err)) {
		d.c.recent.add(d.partition(unit), "unit at offset %d failed: %v", d.units[unit].Offset, err)
	}
}

// Fenced tells that a unit was reported as gone because the sidecar closed the session: nobody
// knows whether its outputs are in Kafka.
func (d *Delivery) Fenced(unit int, err error) {
	d.Failed(unit, err)
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if unit >= 0 && unit < len(d.units) {
		if e := d.c.byNumber[epochKey{d.process, d.units[unit].Epoch}]; e != nil {
			e.fenced = append(e.fenced, d.units[unit].Offset)
		}
	}
}

// report counts a report, and tells whether it is the unit's first.
func (d *Delivery) report(i int, what string) bool {
	c := d.c
	c.counts.Reports++
	if i < 0 || i >= len(d.units) {
		c.violate(WrongUnitReference, Partition{}, "%s: unit %d of a call with %d units was reported as %s", d.process, i, len(d.units), what)
		return false
	}
	if !d.reported.Add(uint64(i)) {
		c.violate(ReportedTwice, d.partition(i), "%s: the unit of offset %d (epoch %d) was reported again, as %s", d.process, d.units[i].Offset, d.units[i].Epoch, what)
		return false
	}
	if d.reported.Len() == uint64(len(d.units)) {
		delete(c.deliveries, d)
	}
	return true
}

func (d *Delivery) acked(i int) {
	c, u := d.c, d.units[i]
	at := d.partition(i)
	if e := c.byNumber[epochKey{d.process, u.Epoch}]; e != nil && u.Offset >= e.start {
		e.acked.Add(uint64(u.Offset - e.start))
		if c.exactly.processes[d.process] {
			c.exactly.promises = append(c.exactly.promises, promise{d.process, at, u.Offset})
		}
	}
	for _, id := range d.ids[i] {
		if c.cfg.AcksAreTruth {
			c.makeDurable(id)
			continue
		}
		c.claims = append(c.claims, claim{d.process, at, id})
	}
	c.recent.add(at, "%s: unit of offset %d (epoch %d) acked", d.process, u.Offset, u.Epoch)
}

func (d *Delivery) partition(i int) Partition {
	if e := d.c.byNumber[epochKey{d.process, d.units[i].Epoch}]; e != nil {
		return e.p
	}
	return Partition{}
}

// Settle checks the acknowledgements that came so far against the log. Whoever feeds Durable calls
// it when everything that the broker appended until now is fed: an ack that came earlier is of an
// append that came earlier still.
func (c *Checker) Settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleClaims()
}

func (c *Checker) settleClaims() {
	for _, cl := range c.claims {
		if !c.durable.Has(c.bit(cl.id.Global, cl.id.Out)) && !c.dead.Has(cl.id.Global) {
			c.violate(FalseAck, cl.at, "%s got an acknowledgement for output %v, which is in no log", cl.process, cl.id)
		}
	}
	c.claims = c.claims[:0]
	for _, p := range c.exactly.promises {
		if l := c.log(p.at); !l.covered().has(p.offset) {
			c.violate(FalseAck, p.at, "%s got an acknowledgement for the unit of %s before its transaction was committed; committed is %d", p.process, c.describe(l, p.offset), l.committed)
		}
	}
	c.exactly.promises = c.exactly.promises[:0]
}

// ProcessGone tells that a process was killed: nobody waits for its reports any more.
func (c *Checker) ProcessGone(process string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence.processes[process] = true
	for d := range c.deliveries {
		if d.process == process {
			delete(c.deliveries, d)
		}
	}
}
