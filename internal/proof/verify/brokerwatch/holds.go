package brokerwatch

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// hold is a member's right to a partition. It is wider than the assignment of the current
// generation: in a cooperative rebalance the round that takes a partition away is over before its
// holder has even heard of it. Then it drains and commits, in the new generation and without the
// partition in its assignment, and only when it joins again without claiming it, it has let go.
type hold struct {
	member string
	// missing is the generation whose assignment was the first without the partition; 0: it is in
	// the current one.
	missing int32
}

// refresh takes over the group's state.
func (w *Watch) refresh() {
	g := w.cluster.GroupInfo(w.cfg.Group)
	if g == nil {
		g = new(kfake.GroupInfo)
	}
	for p, h := range w.holds {
		if !slices.ContainsFunc(g.Members, func(m kfake.GroupMember) bool { return m.MemberID == h.member }) {
			w.release(p, h) // left, or expelled
		}
	}
	for id := range w.beaten {
		if !slices.ContainsFunc(g.Members, func(m kfake.GroupMember) bool { return m.MemberID == id }) {
			delete(w.beaten, id)
		}
	}
	if !w.assignmentsStand(g) {
		return
	}
	w.generation = g.Epoch
	for p, h := range w.holds {
		if w.beaten[h.member] == nil {
			w.age(p, h, g)
		}
	}
	for _, m := range g.Members {
		for topic, ps := range m.Assignment {
			for _, n := range ps {
				p := verify.Partition{Topic: topic, Partition: n}
				w.holds[p] = hold{member: m.MemberID}
				w.checker.Assigned(m.MemberID, w.since(m.MemberID, g), p)
			}
		}
	}
}

// assignmentsStand tells whether the state shows who holds what. A timer may have begun the next
// rebalance before any request was seen in the generation that just became stable: then its
// assignments are still there, and nobody has given anything back yet.
func (w *Watch) assignmentsStand(g *kfake.GroupInfo) bool {
	switch g.State {
	case "Stable", "Reconciling", "Assigning":
		return true
	case "PreparingRebalance":
		return g.Epoch != w.generation && g.NumAssigned() > 0
	}
	return false // they are being made
}

// age notes that a partition is not in its holder's assignment any more. A second generation
// without it ends the right: by then the holder has joined again.
func (w *Watch) age(p verify.Partition, h hold, g *kfake.GroupInfo) {
	for _, m := range g.Members {
		if slices.Contains(m.Assignment[p.Topic], p.Partition) {
			return // its holder's or somebody else's now
		}
	}
	switch {
	case h.missing == 0:
		w.holds[p] = hold{h.member, g.Epoch}
	case g.Epoch > h.missing:
		w.release(p, h)
	}
}

// rejoin ends the rights that a member does not claim when it joins again. An eager member claims
// none: it has given all up before. What it does claim is its own anew: it may have joined again
// because others did, before it could hear of the assignment that took a partition away.
func (w *Watch) rejoin(req *kmsg.JoinGroupRequest) {
	claimed := make(map[verify.Partition]bool)
	for _, protocol := range req.Protocols {
		var meta kmsg.ConsumerMemberMetadata
		if meta.ReadFrom(protocol.Metadata) != nil {
			continue
		}
		for _, t := range meta.OwnedPartitions {
			for _, n := range t.Partitions {
				claimed[verify.Partition{Topic: t.Topic, Partition: n}] = true
			}
		}
	}
	for p, h := range w.holds {
		switch {
		case h.member != req.MemberID:
		case !claimed[p]:
			w.release(p, h)
		default:
			w.holds[p] = hold{member: h.member} // it has not heard of an assignment without it, whatever generations went by
		}
	}
}

func (w *Watch) release(p verify.Partition, h hold) {
	delete(w.holds, p)
	w.checker.Unassigned(h.member, p)
}
