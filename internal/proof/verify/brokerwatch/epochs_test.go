package brokerwatch

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// beat sends one heartbeat of a member, by another client than its own, and returns its epoch.
func (w *world) beat(member, instance string, epoch int32, holds []int32) int32 {
	w.t.Helper()
	resp := w.tryBeat(member, instance, epoch, holds)
	if resp.ErrorCode != 0 {
		w.t.Fatalf("heartbeat of %s in epoch %d: code %d", member, epoch, resp.ErrorCode)
	}
	return resp.MemberEpoch
}

func (w *world) tryBeat(member, instance string, epoch int32, holds []int32) *kmsg.ConsumerGroupHeartbeatResponse {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = "g", member, epoch, 60_000
	if instance != "" {
		req.InstanceID = &instance
	}
	if epoch >= 0 {
		req.SubscribedTopicNames, req.Topics = []string{"in"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	if len(holds) > 0 {
		t := kmsg.NewConsumerGroupHeartbeatRequestTopic()
		t.TopicID, t.Partitions = w.cluster.TopicInfo("in").TopicID, holds
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(w.t.Context(), cl)
	if err != nil {
		w.t.Fatalf("heartbeat of %s in epoch %d: %v", member, epoch, err)
	}
	return resp
}

// accepts judges a commit of partition 3 as if the broker took it.
func (w *world) accepts(member string, epoch int32) {
	w.watch.Settle()
	w.checker.Committed(verify.Commit{Member: member, Generation: epoch, Partition: verify.Partition{Topic: "in", Partition: 3}})
}

// A partition goes from one member of the consumer protocol to another one and back. Its holder
// keeps it until the heartbeat that does not name it, and once it is back a commit of the epoch
// before is stale (S2).
func TestEpochsAreFollowed(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		all := []int32{0, 1, 2, 3}
		first := w.beat("a", "", 0, nil)
		w.beat("a", "", first, all)
		w.beat("b", "", 0, nil)
		w.beat("a", "", first, all) // hears that it has to give two of them up
		w.accepts("a", first)
		if err := w.checker.Err(); err != nil {
			t.Error(err)
		}
		second := w.beat("a", "", first, []int32{0, 1})
		w.beat("b", "", second, nil)
		w.accepts("a", first)
		if !w.checker.Has(verify.CommitNotHeld) {
			t.Errorf("a partition that was let go of: %s", w.checker.Summary())
		}
		w.beat("b", "", leavesForGood, nil)
		third := w.beat("a", "", second, []int32{0, 1})
		w.accepts("a", third)
		if w.checker.Has(verify.CommitStale) {
			t.Error(w.checker.Err())
		}
		w.accepts("a", second)
		if !w.checker.Has(verify.CommitStale) {
			t.Errorf("a commit in epoch %d of what came back in epoch %d: %s", second, third, w.checker.Summary())
		}
	})
}

// A will leaves by a last heartbeat: a dynamic member is gone at once, a static one when its
// successor takes its place. Whoever comes back itself has not been left.
func TestLastHeartbeatsAreSeen(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		w.watch.cfg.BeatByWill = func(*kmsg.ConsumerGroupHeartbeatRequest) bool { return true }
		w.beat("a", "", 0, nil)
		w.checker.EpochStart("p", 1, "a", verify.Partition{Topic: "in"}, 0)
		w.beat("a", "", leavesForGood, nil)
		w.watch.Settle()
		if !w.checker.Willed("p", 1) {
			t.Error("a dynamic member was left, and nobody saw it")
		}
		w.beat("s1", "s", 0, nil)
		w.checker.EpochStart("q", 2, "s1", verify.Partition{Topic: "in", Partition: 1}, 0)
		w.beat("s1", "s", leavesForNow, nil)
		w.beat("s1", "s", 0, nil)
		w.watch.Settle()
		if w.checker.Willed("q", 2) || w.watch.beaten["s1"].gone {
			t.Error("it came back itself")
		}
		w.beat("s1", "s", leavesForNow, nil)
		w.watch.Settle()
		if g := w.cluster.GroupInfo("g"); w.checker.Willed("q", 2) || w.watch.memberMayCommit("g", "s1", g.Epoch) {
			t.Error("its place is kept, and it may not commit")
		}
		w.beat("s2", "s", 0, nil)
		w.watch.Settle()
		if !w.checker.Willed("q", 2) {
			t.Error("its successor is there")
		}
	})
}

// A will leaves the group for a member that lives, and this joins again under the id that it made.
// What it commits from then on is its own. What it sent before is not, whatever the broker does
// with it.
func TestMemberComesBackUnderItsID(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		w.willed("a")
		second := w.beat("a", "", 0, nil)
		w.beat("a", "", second, []int32{0, 1, 2, 3})
		w.accepts("a", second)
		if err := w.checker.Err(); err != nil {
			t.Error(err)
		}
		if !w.checker.Willed("p", 1) {
			t.Error("what its will closed stays closed")
		}
		w.accepts("a", second-1)
		if !w.checker.Has(verify.ClosedCommitted) {
			t.Errorf("a commit of epoch %d, of a member since epoch %d: %s", second-1, second, w.checker.Summary())
		}
	})
}

// A join that the broker refuses takes nobody in.
func TestRefusedJoinIsNone(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		w.willed("a")
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Err: kerr.GroupAuthorizationFailed, Count: 1})
		if code := w.tryBeat("a", "", 0, nil).ErrorCode; code != kerr.GroupAuthorizationFailed.Code {
			t.Fatalf("the broker was to refuse it: code %d", code)
		}
		w.beat("b", "", 0, nil)
		w.accepts("a", w.cluster.GroupInfo("g").Epoch)
		if !w.checker.Has(verify.ClosedCommitted) {
			t.Errorf("it is not in the group: %s", w.checker.Summary())
		}
	})
}

// willed is a member that joins and is left by its will.
func (w *world) willed(member string) {
	w.watch.cfg.BeatByWill = func(*kmsg.ConsumerGroupHeartbeatRequest) bool { return true }
	w.beat(member, "", 0, nil)
	w.checker.EpochStart("p", 1, member, verify.Partition{Topic: "in", Partition: 3}, 0)
	w.beat(member, "", leavesForGood, nil)
	w.watch.Settle()
}

// What a control function of the test's own refuses is known as refused.
func TestRefusedIsTold(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		w.checker.EpochStart("p", 1, "m", verify.Partition{Topic: "in"}, 0)
		w.checker.Left("m", true)
		if !w.checker.Willed("p", 1) {
			t.Fatal("it was left by a will")
		}
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.MemberID = "g", "m"
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "in", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: 0}}}}
		w.watch.Refused(req)
		if w.checker.Willed("p", 1) {
			t.Error("its commit was refused")
		}
	})
}
