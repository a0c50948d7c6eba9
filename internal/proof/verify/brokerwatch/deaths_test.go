package brokerwatch

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/proof/verify"
)

// commitFor commits partition 0 in the name of a member, from another client.
func (w *world) commitFor(member string, generation int32, offset int64, metadata string) int16 {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = "g", member, generation
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID = "in", w.cluster.TopicInfo("in").TopicID
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	part.Offset, part.LeaderEpoch, part.Metadata = offset, -1, &metadata
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(w.t.Context(), cl)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.Topics[0].Partitions[0].ErrorCode
}

// leaveFor leaves the group in the name of a member, from another client.
func (w *world) leaveFor(member string) {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = "g"
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.Reason = member, kmsg.StringPtr("will")
	req.Members = append(req.Members, m)
	if _, err := req.RequestWith(w.t.Context(), cl); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) doneSet(base int64, epoch int32, runs ...donemeta.Run) string {
	text, _ := donemeta.Append(nil, donemeta.Binding{TopicID: w.cluster.TopicInfo("in").TopicID, Base: base, LeaderEpoch: epoch}, runs)
	return string(text)
}

// Whoever commits in a member's name is judged as the member is, and that somebody else left the
// group for it is told.
func TestWillIsSeen(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		w.watch.cfg.ByWill = func(m kmsg.LeaveGroupRequestMember) bool { return m.Reason != nil && *m.Reason == "will" }
		m := w.join("a", nil)
		w.catchUp()
		member, generation := m.cl.GroupMetadata()
		end := w.cluster.PartitionInfo("in", 0).HighWatermark
		w.checker.EpochStart("p", 1, member, verify.Partition{Topic: "in"}, 0)
		w.checker.ProcessGone("p")
		if code := w.commitFor(member, generation, end-3, w.doneSet(end-3, -1, donemeta.Run{First: end - 2, Last: end - 1})); code != 0 {
			w.t.Fatal(kerr.ErrorForCode(code))
		}
		if n := w.checker.Counts().SetInputs; n != 0 {
			w.t.Errorf("a commit counts before it is applied: %d", n)
		}
		w.watch.Settle()
		if n := w.checker.Counts().SetInputs; n != 2 {
			w.t.Errorf("%d inputs in done-sets, there were 2", n)
		}
		w.commitFor(member, generation, end, "")
		w.leaveFor(member)
		w.watch.Settle()
		if !w.checker.Willed("p", 1) || w.checker.Counts().Wills != 1 {
			w.t.Errorf("the will was not seen: %s", w.checker.Summary())
		}
		if code := w.commitFor(member, generation, end, ""); code == 0 {
			w.t.Error("a commit after the leave was taken")
		}
		if w.checker.Willed("p", 1) {
			w.t.Error("the refused commit was not seen")
		}
		if w.checker.Has(verify.ClosedCommitted) || w.checker.Has(verify.DoneSetWrong) {
			w.t.Error(w.checker.Err())
		}
	})
}

func TestLeaveThatFailsIsNone(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		w.watch.cfg.ByWill = func(kmsg.LeaveGroupRequestMember) bool { return true }
		m := w.join("a", nil)
		w.catchUp()
		member, _ := m.cl.GroupMetadata()
		w.checker.EpochStart("p", 1, member, verify.Partition{Topic: "in"}, 0)
		w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.LeaveGroup}, Err: kerr.GroupAuthorizationFailed, Count: 1})
		w.leaveFor(member)
		w.watch.Settle()
		if w.checker.Willed("p", 1) {
			w.t.Error("the broker has not let the member go")
		}
	})
}

func TestForeignDoneSetIsCaught(t *testing.T) {
	for name, metadata := range map[string]func(w *world) string{
		"base":         func(w *world) string { return w.doneSet(1, -1, donemeta.Run{First: 2, Last: 2}) },
		"leader epoch": func(w *world) string { return w.doneSet(0, 0, donemeta.Run{First: 2, Last: 2}) },
		"damaged":      func(*world) string { return "am1.AAAA" },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, verify.CheckerConfig{}, func(w *world) {
				m := w.join("a", nil)
				w.catchUp()
				member, generation := m.cl.GroupMetadata()
				w.commitFor(member, generation, 0, "somebody else's")
				w.watch.Settle()
				if w.checker.Has(verify.DoneSetForeign) {
					w.t.Error("foreign metadata is no done-set")
				}
				w.commitFor(member, generation, 0, metadata(w))
				w.watch.Settle()
				if !w.checker.Has(verify.DoneSetForeign) {
					w.t.Error(w.checker.Summary())
				}
			})
		})
	}
}

// A commit may lie behind the last record: control records have offsets, too.
func TestCommitBehindAControlRecord(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		m := w.join("a", nil)
		w.catchUp()
		cl := w.client(kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		defer cl.Close()
		end := w.cluster.PartitionInfo("in", 0).HighWatermark
		w.watch.cfg.Inputs = nil // what this observer does not follow
		if err := cl.BeginTransaction(); err != nil {
			w.t.Fatal(err)
		}
		if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: "in", Value: []byte("x")}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
		if err := cl.EndTransaction(w.t.Context(), kgo.TryCommit); err != nil {
			w.t.Fatal(err)
		}
		member, generation := m.cl.GroupMetadata()
		w.commitFor(member, generation, end+2, "")
		w.watch.Settle()
		if w.checker.Has(verify.CommitBeyondLog) {
			w.t.Error("the log ends behind the control record")
		}
		w.commitFor(member, generation, end+3, "")
		w.watch.Settle()
		if !w.checker.Has(verify.CommitBeyondLog) {
			w.t.Error("but not later")
		}
	})
}

func TestTopicIsCreatedAgain(t *testing.T) {
	inWorld(t, verify.CheckerConfig{}, func(w *world) {
		m := w.join("a", nil)
		w.catchUp()
		m.leave()
		if err := w.cluster.DeleteTopic("in"); err != nil {
			w.t.Fatal(err)
		}
		if err := w.cluster.CreateTopic("in", 4, nil); err != nil {
			w.t.Fatal(err)
		}
		w.feed()
		w.watch.Settle()
		if n := w.checker.Counts().Inputs; n != 2*inputs {
			w.t.Errorf("%d inputs, there were %d and again as many", n, inputs)
		}
	})
}
