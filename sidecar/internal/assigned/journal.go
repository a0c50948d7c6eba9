package assigned

import "github.com/ackmark/ackmark/internal/sessionfile"

// WriteTo has everything that the process has said and will say, and what is done of it, written
// down for the sidecar that comes after this one. Problem hears why something is not: it costs
// repeats if both die.
func (h *Held) WriteTo(f *sessionfile.File, problem func(error)) {
	h.file, h.problem, h.unwritten = f, problem, true
	h.WriteRest()
}

// WriteMembersTo is WriteTo of a process whose offsets transactions commit: what is done of its
// assignments is not the will's business, which only leaves.
func (h *Held) WriteMembersTo(f *sessionfile.File, problem func(error)) {
	h.leaves = true
	h.WriteTo(f, problem)
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

// Written tells that it is written down, and all: also what is only heard of the process.
func (h *Held) Written() (begun, all bool) { return h.file != nil, h.file != nil && !h.unwritten }

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
	m, known := h.membership(e.Of)
	if h.file == nil || h.leaves || !known || m.ID == "" {
		return
	}
	entry, err := h.file.Enter(&sessionfile.Assignment{
		Group: e.Of.Group, Consumer: e.Of.Consumer, Member: m.ID, Epoch: e.Epoch, Topic: e.Topic, TopicID: e.TopicID, Partition: e.Index, Start: e.Core.Mark(),
	})
	if err != nil {
		h.fails(err)
		return
	}
	if e.entry = entry; entry == nil {
		return
	}
	if h.heard.partitions[e.Epoch] != e {
		e.Core.KeepIn(entry)
		return
	}
	mark, done := e.Core.Standing()
	entry.Advance(mark)
	for _, run := range done {
		entry.Done(run.First, run.Last)
	}
}
