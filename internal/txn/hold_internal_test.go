package txn

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// What a group says of a membership: a classic one's generation stands while the next one has not
// begun, and a member of the consumer protocol has to be of the epoch that we know.
func TestAskMember(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	generations := map[int32]int16{3: kerr.IllegalGeneration.Code, 4: kerr.RebalanceInProgress.Code, 5: 0, 6: kerr.UnknownServerError.Code}
	c.ControlKey(int16(kmsg.Heartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.HeartbeatRequest)
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = generations[req.Generation]
		if req.MemberID != "ours" || req.InstanceID == nil || *req.InstanceID != "one" {
			resp.ErrorCode = kerr.UnknownMemberID.Code
		}
		return resp, nil, true
	})
	c.ControlKey(int16(kmsg.OffsetFetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		g := kreq.(*kmsg.OffsetFetchRequest).Groups[0]
		resp := kreq.ResponseKind().(*kmsg.OffsetFetchResponse)
		rg := kmsg.NewOffsetFetchResponseGroup()
		rg.Group = g.Group
		switch {
		case g.MemberID == nil || *g.MemberID != "ours":
			rg.ErrorCode = kerr.UnknownMemberID.Code
		case g.MemberEpoch != 5:
			rg.ErrorCode = kerr.StaleMemberEpoch.Code
		}
		resp.Groups = append(resp.Groups, rg)
		return resp, nil, true
	})
	o := &offsets{life: newLife(), plain: cl}
	const classic, consumer = groupcommit.Classic, groupcommit.Consumer
	for _, at := range []struct {
		id         string
		generation int32
		protocol   groupcommit.Protocol
		want       error
	}{
		{"ours", -1, classic, kerr.IllegalGeneration}, {"ours", 3, classic, kerr.IllegalGeneration}, {"ours", 4, classic, nil}, {"ours", 5, classic, nil},
		{"ours", 6, classic, kerr.UnknownServerError}, {"another", 5, classic, kerr.UnknownMemberID}, {"", 5, classic, kerr.IllegalGeneration},
		{"ours", -1, consumer, kerr.IllegalGeneration}, {"ours", 4, consumer, kerr.StaleMemberEpoch}, {"ours", 5, consumer, nil}, {"another", 5, consumer, kerr.UnknownMemberID},
	} {
		m := groupcommit.Member{Group: "g", MemberID: at.id, InstanceID: "one", Generation: at.generation, Protocol: at.protocol}
		if err := o.askMember(t.Context(), m, &groupcommit.Point{Topic: "in"}); !errors.Is(err, at.want) {
			t.Errorf("%q of %d, protocol %v: %v, want %v", at.id, at.generation, at.protocol, err, at.want)
		}
	}
}
