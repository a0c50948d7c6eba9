package assigned

import (
	"slices"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Claimed has every assignment followed twice from now on: by the session, for what its process is
// told, and by who commits its offsets with its outputs, see [Held.Claim].
// Fit has the second follower of an epoch give back the memory that it does not need now.
func (h *Held) Claimed(fit func(epoch uint64)) { h.trackers, h.fitToo = 2, fit }

// Claim makes the second follower of an assignment that was entered: of where its process says that
// it stands, and of what its group has of it already. Nil: it is not held any more.
func (h *Held) Claim(p *sidecarpb.AssignedPartition, committed []donemeta.Run) (*assignment.Assignment, error) {
	e := h.partitions[p.GetEpoch()]
	if e == nil || e.Released() {
		return nil, nil
	}
	runs := committed
	if len(runs) == 0 && p.GetDoneSet() != "" {
		runs, _ = donemeta.ParseAt(p.GetDoneSet(), e.TopicID, p.GetStartOffset(), nil) // text that is no done-set says nothing
	}
	// What is left out would be done again: there is no lagging here.
	cost := int64(len(runs)) * runCost
	if !h.kept.Take(cost) {
		return nil, NoRoom("a done-set")
	}
	e.kept += cost
	core := assignment.New(assignment.Spec{TopicID: e.TopicID, Start: p.GetStartOffset(), Committed: -1, Base: p.GetStartIndex(), Limit: MaxSpan})
	core.Inherit(slices.Clip(runs), "", -1)
	for _, r := range p.GetDone() {
		if !e.claimDone(core, r) {
			return nil, NoRoom("the inputs that are done above an ack mark")
		}
	}
	return core, nil
}

// claimDone enters inputs that were done before, as [Held.enterDone] does. False: there is no room.
func (e *Partition) claimDone(core *assignment.Assignment, r *sidecarpb.DoneRun) bool {
	if r.GetIndex() < e.Core.MarkIndex() {
		return true
	}
	for k := range min(r.GetCount(), MaxSpan) {
		index := r.GetIndex() + k
		if !e.Follows(index) {
			return false
		}
		if !core.Follow(index, r.GetOffset()+int64(k), 0) {
			return true // a run that was said before, or contradicts one
		}
		core.Done(index)
	}
	return true
}

// Follows tells whether there is room for an input of this index: it came, or is within what was
// taken of the session's share.
func (e *Partition) Follows(index uint64) bool {
	mark := e.Core.MarkIndex()
	return index < mark || index-mark < e.capacity
}

// Admits is Follows of a unit that was received. Once there was no room, there is none for what
// lies above that input until the assignment ends, however the mark moves: who reads the partition
// takes it up anew from the first input that is not done, and none of the same key may have gone
// before it (S7).
func (e *Partition) Admits(index uint64) bool {
	if e.turns(index) {
		return false
	}
	if !e.Follows(index) {
		e.turned = index + 1
		return false
	}
	return true
}

// Beyond tells that an input is further above the ack mark than any can be.
func (e *Partition) Beyond(index uint64) bool {
	mark := e.Core.MarkIndex()
	return index >= mark && index-mark >= MaxSpan
}

// turns tells whether an input is turned away, since it or one below it was before.
func (e *Partition) turns(index uint64) bool { return e.turned != 0 && index >= e.turned-1 }
