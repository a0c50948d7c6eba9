package devbroker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/devbroker"
)

// A member that has let go of a partition may not commit it in the epoch in which it had it, and
// nothing beside it either; what it kept it may.
func TestOldEpochCommitsOnlyWhatIsKept(t *testing.T) {
	b := start(t, devbroker.Config{Topics: map[string]int{"orders": 2}})
	refused := 0
	devbroker.ValidateEpochs(b.Cluster(), func(*kmsg.OffsetCommitRequest) { refused++ })
	cl, ctx, id := client(t, b), testContext(t), b.Cluster().TopicInfo("orders").TopicID
	beat := func(member string, epoch int32, holds ...int32) int32 {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = "g", member, epoch, 60_000
		req.SubscribedTopicNames, req.Topics = []string{"orders"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if len(holds) > 0 {
			req.Topics = append(req.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: id, Partitions: holds})
		}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil || resp.ErrorCode != 0 {
			t.Fatalf("heartbeat of %s: %v, code %d", member, err, resp.ErrorCode)
		}
		return resp.MemberEpoch
	}
	commit := func(epoch int32, partitions ...int32) (codes []int16) {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.MemberID, req.Generation = "g", "a", epoch
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic, topic.TopicID = "orders", id
		for _, p := range partitions {
			part := kmsg.NewOffsetCommitRequestTopicPartition()
			part.Partition = p
			topic.Partitions = append(topic.Partitions, part)
		}
		req.Topics = append(req.Topics, topic)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range resp.Topics[0].Partitions {
			codes = append(codes, p.ErrorCode)
		}
		return codes
	}
	old := beat("a", 0)
	beat("a", old, 0, 1)
	beat("b", 0)
	beat("a", old, 0, 1) // has to give one up, and has not
	var kept, gone int32 = 0, 1
	if codes := commit(old, 0, 1); codes[0] != 0 || codes[1] != 0 {
		t.Errorf("while it has both: %v", codes)
	}
	g := b.Cluster().GroupInfo("g")
	if len(g.Members[0].Assignment["orders"]) == 1 {
		kept = g.Members[0].Assignment["orders"][0]
		gone = 1 - kept
	}
	if now := beat("a", old, kept); now <= old {
		t.Fatalf("epoch %d after %d", now, old)
	}
	if codes := commit(old, kept); codes[0] != 0 {
		t.Errorf("what it kept: code %d", codes[0])
	}
	for _, code := range commit(old, kept, gone) {
		if code != kerr.StaleMemberEpoch.Code {
			t.Errorf("with what it gave up: code %d", code)
		}
	}
	if refused != 1 {
		t.Errorf("told of %d refused commits, there was one", refused)
	}
}
