package assigned

import (
	"slices"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/sessionfile"
)

// Former is what a session of the same process before this one knew, or the file of one: the
// memberships, and where the assignments stood.
type Former struct {
	Memberships []Membership
	Assignments []sessionfile.Assignment
}

// FormerOf is what a file says.
func FormerOf(o *sessionfile.Orphan) Former {
	f := Former{Assignments: o.Assignments}
	for _, m := range o.Memberships {
		f.Memberships = append(f.Memberships, Membership{MemberKey{m.Group, m.Consumer}, m.ID, m.Instance, m.Generation, m.Protocol, m.Cluster})
	}
	return f
}

// heard is what the process has not said itself: what is known of it by a [Former]. Of each
// membership it counts until the process has said all of that; its session's will, and its file,
// have both.
type heard struct {
	members    map[MemberKey]Membership
	partitions map[uint64]*Partition // by assignment epoch, as those that the process has told
}

// Former is what another session of the process, which begins now, is to hear of this one.
func (h *Held) Former() Former {
	f := Former{Memberships: h.Memberships()}
	for _, e := range h.Partitions() {
		m, known := h.membership(e.Of)
		if !known || m.ID == "" || e.Released() {
			continue
		}
		a := sessionfile.Assignment{
			Group: e.Of.Group, Consumer: e.Of.Consumer, Member: m.ID, Epoch: e.Epoch, Topic: e.Topic, TopicID: e.TopicID, Partition: e.Index,
		}
		if h.trackers == 1 { // else the transactions have committed what is done
			a.Mark, a.Done = e.Core.Standing()
			f.Assignments = append(f.Assignments, a)
		}
	}
	return f
}

// Hear takes over what is known of the process that it has not said. It returns how much of that
// there was no room for.
func (h *Held) Hear(f Former) (left int) {
	taken := make(map[MemberKey]bool, len(f.Memberships))
	for _, m := range f.Memberships {
		if first, known := h.membership(m.MemberKey); known { // what was heard first is newer
			taken[m.MemberKey] = first.ID == m.ID // but may not be all: its writer was killed at that
			continue
		}
		if len(h.heard.members) == MaxGroups || !h.kept.Take(m.size()) {
			left++
			continue
		}
		h.heard.members[m.MemberKey] = m
		taken[m.MemberKey] = true
	}
	for i := range f.Assignments {
		a := &f.Assignments[i]
		if taken[MemberKey{a.Group, a.Consumer}] && !h.hear(a) {
			left++
		}
	}
	h.unwritten = true
	return left
}

func (h *Held) hear(a *sessionfile.Assignment) bool {
	if h.heard.partitions[a.Epoch] != nil || len(h.heard.partitions) == maxEpochs {
		return false
	}
	e := &Partition{
		Epoch: a.Epoch, Of: MemberKey{a.Group, a.Consumer}, Topic: a.Topic, TopicID: a.TopicID, Index: a.Partition,
		kept: int64(epochCost + len(a.Topic) + runCost*len(a.Done)), trackers: 1,
		Core: assignment.New(assignment.Spec{TopicID: a.TopicID, Start: a.Mark, Committed: -1, Limit: 1}),
	}
	if !h.kept.Take(e.kept) {
		return false
	}
	e.Core.Inherit(slices.Clip(a.Done), "", -1)
	h.heard.partitions[e.Epoch] = e
	return true
}

// Hears tells that something is known of the process that it has not said.
func (h *Held) Hears() bool { return len(h.heard.members) > 0 }

// Told is called when the process has said all of a membership.
func (h *Held) Told(of MemberKey) {
	if m, heard := h.heard.members[of]; heard {
		h.kept.Give(m.size())
		delete(h.heard.members, of)
	}
	for _, e := range h.heard.partitions {
		if e.Of == of {
			h.unhear(e.Epoch)
		}
	}
}

// Unhear forgets all that the process has not said.
func (h *Held) Unhear() {
	for of := range h.heard.members {
		h.Told(of)
	}
}

// unhear forgets an assignment that the process has told, or released.
func (h *Held) unhear(epoch uint64) {
	e := h.heard.partitions[epoch]
	if e == nil {
		return
	}
	h.kept.Give(e.kept)
	e.entry.Release()
	delete(h.heard.partitions, epoch)
}

// take takes of the share of memory that no credit covers: what the process says goes before what
// was heard of it.
func (h *Held) take(n int64) bool {
	if h.kept.Take(n) {
		return true
	}
	if !h.Hears() {
		return false
	}
	h.Unhear()
	return h.kept.Take(n)
}

// membership is the one that the process has told, or else what is heard of it.
func (h *Held) membership(of MemberKey) (Membership, bool) {
	if m, told := h.members[of]; told {
		return m, true
	}
	m, heard := h.heard.members[of]
	return m, heard
}
