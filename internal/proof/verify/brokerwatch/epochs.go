package brokerwatch

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// beaten is a member of the consumer protocol (KIP-848), which beats instead of joining. What it
// holds it holds until the heartbeat that does not name it any more: then it has let go, or never
// heard of it.
type beaten struct {
	epoch int32 // of the group before its last heartbeat: what that one gave it is not from an earlier one
	gone  bool  // it left for now, and the broker keeps its place
}

// Epochs that a member's last heartbeat has instead of its own.
const (
	leavesForGood = -1
	leavesForNow  = -2
)

// heartbeat runs before the broker handles it.
func (w *Watch) heartbeat(req *kmsg.ConsumerGroupHeartbeatRequest) {
	if req.MemberEpoch == leavesForGood || req.MemberEpoch == leavesForNow {
		w.lastBeat(req)
		return
	}
	b := w.beaten[req.MemberID]
	if b == nil {
		b = new(beaten)
		w.beaten[req.MemberID] = b
	}
	g := w.cluster.GroupInfo(w.cfg.Group)
	if g == nil {
		return
	}
	b.epoch = g.Epoch
	if req.MemberEpoch == 0 && !isMember(g, req.MemberID) {
		w.joins = append(w.joins, joining{req.MemberID, g.Epoch + 1})
	}
	if req.MemberEpoch == 0 { // a static one may get what its former process had, in that one's epoch
		b.epoch, b.gone = 0, false
		w.leaves = slices.DeleteFunc(w.leaves, func(l leaving) bool { return l.member == req.MemberID })
	}
	if req.Topics == nil {
		return // a heartbeat that names nothing lets go of nothing
	}
	for p, h := range w.holds {
		if h.member == req.MemberID && !assigned(g, req.MemberID, p) && !w.names(req, p) {
			w.release(p, h)
		}
	}
}

func (w *Watch) lastBeat(req *kmsg.ConsumerGroupHeartbeatRequest) {
	byWill := w.cfg.BeatByWill != nil && w.cfg.BeatByWill(req)
	forNow := req.MemberEpoch == leavesForNow && req.InstanceID != nil
	g := w.cluster.GroupInfo(w.cfg.Group)
	if g == nil || !isMember(g, req.MemberID) {
		return // it is not there
	}
	if b := w.beaten[req.MemberID]; b != nil && forNow {
		b.gone = true
	}
	w.leaves = append(w.leaves, leaving{member: req.MemberID, byWill: byWill, forNow: forNow})
}

func isMember(g *kfake.GroupInfo, id string) bool {
	return slices.ContainsFunc(g.Members, func(m kfake.GroupMember) bool { return m.MemberID == id })
}

func assigned(g *kfake.GroupInfo, member string, p verify.Partition) bool {
	return slices.ContainsFunc(g.Members, func(m kfake.GroupMember) bool {
		return m.MemberID == member && slices.Contains(m.Assignment[p.Topic], p.Partition)
	})
}

func (w *Watch) names(req *kmsg.ConsumerGroupHeartbeatRequest, p verify.Partition) bool {
	id := w.idOf(p.Topic)
	return slices.ContainsFunc(req.Topics, func(t kmsg.ConsumerGroupHeartbeatRequestTopic) bool {
		return t.TopicID == id && slices.Contains(t.Partitions, p.Partition)
	})
}

// since is the generation, or epoch, from which a member's new partitions are its own.
func (w *Watch) since(member string, g *kfake.GroupInfo) int32 {
	if b := w.beaten[member]; b != nil {
		return b.epoch
	}
	return g.Epoch
}

// mayCommit tells what the broker looks at beside the epochs of the partitions: nobody commits
// ahead of the group, nor after it has left.
func (b *beaten) mayCommit(epoch, group int32) bool { return !b.gone && epoch >= 0 && epoch <= group }

// Refused tells about a commit that a control function of the test's own refuses: it is not
// observed.
func (w *Watch) Refused(req *kmsg.OffsetCommitRequest) {
	if req.Group != w.cfg.Group {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var commits []verify.Commit
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			commits = append(commits, w.read(committer{req.MemberID, req.Generation, req.InstanceID}, w.topicName(t.Topic, t.TopicID), said{p.Partition, p.Offset, p.LeaderEpoch, p.Metadata}))
		}
	}
	w.checker.CommitRefused(commits...)
}

// memberMayCommit tells apart two requests that committed cannot: the same offset at the same
// instant, from a member that the broker fences and from one that it does not.
func (w *Watch) memberMayCommit(group, id string, generation int32) bool {
	g := w.cluster.GroupInfo(group)
	if g == nil || len(g.Members) == 0 {
		return generation < 0
	}
	member := isMember(g, id)
	if b := w.beaten[id]; b != nil {
		return member && b.mayCommit(generation, g.Epoch)
	}
	return member && (g.State == "Reconciling" || generation == g.Epoch)
}

// leaving is a member that asks, or is asked, to leave. A static member of the consumer protocol
// leaves for now: that is seen when its successor takes its place, or its session ends.
type leaving struct {
	member string
	byWill bool
	forNow bool
}

// joining is who asks to be a member, in the consumer protocol, and is none. Whoever joins makes
// the group's epoch a new one, which is its own: this one, or a later one if others came in
// between.
type joining struct {
	member string
	epoch  int32
}

// joined feeds a join that the broker carried out.
func (w *Watch) joined(j joining) bool {
	g := w.cluster.GroupInfo(w.cfg.Group)
	if g == nil || !isMember(g, j.member) {
		return false
	}
	w.checker.Joined(j.member, j.epoch)
	return true
}

func (w *Watch) leave(req *kmsg.LeaveGroupRequest) {
	for _, m := range req.Members {
		w.leaves = append(w.leaves, leaving{member: m.MemberID, byWill: w.cfg.ByWill != nil && w.cfg.ByWill(m)})
	}
}
