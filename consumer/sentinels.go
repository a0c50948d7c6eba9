package consumer

import (
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/sentinel"
)

// fetched is what a partition knows of the records that were fetched, without its tracker: the
// sentinels hold the one against the other.
type fetched struct {
	records int64 // that were fetched
	control int64 // of them, no inputs
	skipped int64 // of them, that nobody can account for: said
	told    told  // of what State counts
}

// firstOpen is the first input that is not done, by the outcomes of the inputs and not by the ack
// mark: where the reading is when all are. Each input is looked at once, so it costs a step for
// each that is done. Under mu.
func (p *partition) firstOpen() int64 {
	for _, r := range p.hand.runs {
		if r == nil {
			continue // all of it is done
		}
		for r.done < len(r.states) && atomic.LoadUint32(&r.states[r.done])&done != 0 {
			r.done++
		}
		if r.done < len(r.states) {
			return r.Messages[r.done].offset()
		}
	}
	if len(p.parked.recs) > 0 {
		return p.parked.recs[0].Offset
	}
	return p.core.Next()
}

// check holds a commit that is due against what else is known. Under mu.
func (p *partition) check(at assignment.Commit) {
	a := p.assignment
	if open := p.firstOpen(); sentinel.IsBeyond(at.Offset, open) {
		p.around.watch.Found(sentinel.CommitBeyond, "topic", a.Topic, "partition", a.Partition, "epoch", a.Epoch, "commit", at.Offset, "first_not_done", open)
	}
	n := p.core.Counts()
	skipped := sentinel.Passed{
		All: p.seen.records, HandedOut: n.Read, DoneBefore: n.Inherited, NoInput: p.seen.control, HeldBack: int64(len(p.parked.recs)),
	}.Skipped()
	if skipped > p.seen.skipped {
		p.seen.skipped = skipped
		p.around.watch.Found(sentinel.InputSkipped, "topic", a.Topic, "partition", a.Partition, "epoch", a.Epoch, "commit", at.Offset, "skipped", skipped)
	}
}

// checkStart holds where an assignment begins against what the group has, -1 for nothing.
func (p *partition) checkStart(had int64) {
	a := p.assignment
	if passed := (sentinel.Passed{All: a.Start - had}); had >= 0 && passed.Skipped() > 0 {
		p.around.watch.Found(sentinel.InputSkipped, "topic", a.Topic, "partition", a.Partition, "epoch", a.Epoch, "committed", had, "start", a.Start)
	}
}

// dropParked forgets what was held back: it is read again by whoever has the partition next. Under
// mu.
func (p *partition) dropParked() {
	p.seen.records -= int64(len(p.parked.recs))
	p.parked = parked{}
}
