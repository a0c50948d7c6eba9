package brokerwatch

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// A member whose sync was answered with REBALANCE_IN_PROGRESS has not heard that generation 4 takes
// a partition away. It joins again, claims the partition, and drains and commits it in generation
// 5.
func TestAClaimedPartitionIsHeldAnew(t *testing.T) {
	w := newWatch(nil, verify.NewChecker(verify.CheckerConfig{}), Config{Group: "g"})
	kept, left := verify.Partition{Topic: "in", Partition: 5}, verify.Partition{Topic: "in", Partition: 6}
	others := verify.Partition{Topic: "in", Partition: 7}
	w.holds[kept], w.holds[left], w.holds[others] = hold{"m", 4}, hold{"m", 4}, hold{"n", 4}
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version, meta.OwnedPartitions = 1, []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: "in", Partitions: []int32{5}}}
	req := kmsg.NewPtrJoinGroupRequest()
	req.MemberID, req.Protocols = "m", []kmsg.JoinGroupRequestProtocol{{Name: "cooperative-sticky", Metadata: meta.AppendTo(nil)}}
	w.rejoin(req)
	if h := w.holds[kept]; h != (hold{member: "m"}) {
		t.Errorf("the claimed partition: %+v", h)
	}
	if h, held := w.holds[left]; held {
		t.Errorf("the partition that is not claimed: %+v", h)
	}
	if h := w.holds[others]; h != (hold{"n", 4}) {
		t.Errorf("another member's partition: %+v", h)
	}
}
