package assigned

import (
	"slices"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/sessionfile"
)

// WriteTo has everything that the process has said and will say, and what is done of it, written
// down for the sidecar that comes after this one. Problem hears why something is not: it costs
// repeats if both die.
func (h *Held) WriteTo(f *sessionfile.File, problem func(error)) {
	h.file, h.problem, h.unwritten = f, problem, true
	h.WriteRest()
}

// WriteRest writes down what there was no room for when it was said.
func (h *Held) WriteRest() {
	if h.file == nil || !h.unwritten {
		return
	}
	h.unwritten = false
	for _, m := range h.Memberships() {
		h.write(m)
	}
	for _, e := range h.Partitions() {
		if e.entry == nil && !e.Released() {
			h.enterFile(e)
		}
	}
}

// Written tells that it is written down.
func (h *Held) Written() bool { return h.file != nil }

func (h *Held) write(m Membership) {
	if h.file == nil {
		return
	}
	err := h.file.SetMembership(sessionfile.Membership{
		Group: m.Group, Consumer: m.Consumer, ID: m.ID, Instance: m.Instance, Generation: m.Generation, Protocol: m.Protocol, Cluster: m.Cluster,
	})
	if err != nil {
		h.fails(err)
	}
}

func (h *Held) fails(why error) {
	h.unwritten = true
	h.problem(why)
}

// enterFile writes an assignment down, if there is a file and room in it.
func (h *Held) enterFile(e *Partition) {
	m, known := h.members[e.Of]
	if h.file == nil || !known || m.ID == "" {
		return
	}
	entry, err := h.file.Enter(&sessionfile.Assignment{
		Group: e.Of.Group, Consumer: e.Of.Consumer, Member: m.ID, Epoch: e.Epoch, Topic: e.Topic, TopicID: e.TopicID, Partition: e.Index, Start: e.Core.Mark(),
	})
	if err != nil {
		h.fails(err)
		return
	}
	if e.entry = entry; entry != nil {
		e.Core.KeepIn(entry)
	}
}

// Restore takes over what an orphan says of memberships that are not known: where their assignments
// stood when its writer died. It returns how many of them there was no room for.
func (h *Held) Restore(o *sessionfile.Orphan) (left int) {
	taken := make(map[MemberKey]bool, len(o.Memberships))
	for _, m := range o.Memberships {
		key := MemberKey{m.Group, m.Consumer}
		if _, known := h.members[key]; known {
			continue
		}
		if _, err := h.EnterMember(Membership{key, m.ID, m.Instance, m.Generation, m.Protocol, m.Cluster}); err != nil {
			left++
			continue
		}
		taken[key] = true
	}
	for i := range o.Assignments {
		if a := &o.Assignments[i]; taken[MemberKey{a.Group, a.Consumer}] && !h.restore(a) {
			left++
		}
	}
	return left
}

func (h *Held) restore(a *sessionfile.Assignment) bool {
	of := MemberKey{a.Group, a.Consumer}
	if _, known := h.members[of]; !known || h.partitions[a.Epoch] != nil || len(h.partitions) == maxEpochs {
		return false
	}
	e := &Partition{
		Epoch: a.Epoch, Of: of, Topic: a.Topic, TopicID: a.TopicID, Index: a.Partition, kept: int64(epochCost + len(a.Topic) + runCost*len(a.Done)), trackers: 1,
		Core: assignment.New(assignment.Spec{TopicID: a.TopicID, Start: a.Mark, Committed: -1, Limit: 1}),
	}
	if !h.kept.Take(e.kept) {
		return false
	}
	e.Core.Inherit(slices.Clip(a.Done), "", -1)
	h.partitions[e.Epoch] = e
	return true
}
