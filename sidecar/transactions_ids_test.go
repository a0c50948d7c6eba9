package sidecar_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Without its topic's id nothing could be kept of what is done above an assignment's ack mark, and
// after a death it would repeat: who asks for exactly-once has to name it.
func TestExactlyOnceNeedsTopicIDs(t *testing.T) {
	for name, id := range map[string][]byte{"none": nil, "zeros": make([]byte, 16), "half of one": {1, 2, 3, 4, 5, 6, 7, 8}} {
		t.Run(name, func(t *testing.T) {
			inTransactions(t, nil, func(t *testing.T, b *bubble) {
				m := b.mortal(t, "s", "", exactlyOnce)
				m.assignAs(b.part(t, 1))
				m.units(from(0, 0)...)
				m.reported(1)
				m.assignAs(&sidecarpb.AssignedPartition{Epoch: 2, Topic: "in", TopicId: id, Partition: 1})
				err := m.until(func() bool { return false })
				st, _ := status.FromError(err)
				if st.Code() != codes.InvalidArgument || !strings.Contains(st.Message(), `topic_id of topic "in"`) || !strings.Contains(st.Message(), "feature exactly-once") {
					t.Errorf("the stream ended with %v", err)
				}
			})
		})
	}
}
