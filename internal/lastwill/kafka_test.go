package lastwill_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lastwill"
)

// What a will asks of a group of the consumer protocol: who is in it with what, in which epoch, and
// that its member leaves; a static one for now, so that its successor may come.
func TestAGroupOfTheConsumerProtocol(t *testing.T) {
	for name, instance := range map[string]string{"dynamic": "", "static": "i"} {
		t.Run(name, func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Close)
			// A member that goes on would take its place again.
			var over atomic.Bool
			cluster.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				req := kreq.(*kmsg.ConsumerGroupHeartbeatRequest)
				if req.MemberEpoch <= 0 || !over.Load() {
					return nil, nil, false
				}
				resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
				resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
				return resp, nil, true
			})
			client := func(opts ...kgo.Opt) *kgo.Client {
				cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(cluster.ListenAddrs()...))...)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(cl.Close)
				return cl
			}
			got := make(chan struct{}, 8)
			opts := []kgo.Opt{
				kgo.ConsumerGroup("g"), kgo.ConsumeTopics("in"), kgo.ServerSideBalancer(), kgo.DisableAutoCommit(),
				kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
					if len(added) > 0 {
						got <- struct{}{}
					}
				}),
			}
			if instance != "" {
				opts = append(opts, kgo.InstanceID(instance))
			}
			member := client(opts...)
			<-got
			over.Store(true)
			id, epoch := member.GroupMetadata()
			to := lastwill.On(t.Context(), client(), "test")

			g, err := to.Describe(t.Context(), "g")
			if err != nil || !g.Epochs || len(g.Members) != 1 || g.Members[0].ID != id || g.Members[0].Epoch < epoch {
				t.Fatalf("%+v, %v; want member %s in epoch %d", g, err, id, epoch)
			}
			if given := g.Members[0].GivenIDs[cluster.TopicInfo("in").TopicID]; !slices.Equal(given, []int32{0, 1}) {
				t.Errorf("it was given %v, want both partitions", given)
			}
			own := groupcommit.Member{Group: "g", MemberID: id, InstanceID: instance, Generation: epoch, Protocol: groupcommit.Consumer}
			if err := to.Leave(own); err != nil {
				t.Fatal(err)
			}
			g, err = to.Describe(t.Context(), "g")
			left := slices.IndexFunc(g.Members, func(m lastwill.Member) bool { return m.ID == id })
			switch {
			case err != nil:
				t.Error(err)
			case instance == "" && left >= 0:
				t.Errorf("%+v; want %s gone", g, id)
			case instance != "" && (left < 0 || g.Members[left].Epoch != -2):
				t.Errorf("%+v; want the place of %s kept for its successor", g, id)
			}
			if instance == "" {
				if err := to.Leave(own); !errors.Is(err, kerr.UnknownMemberID) {
					t.Errorf("it left twice: %v", err)
				}
				return
			}
			client(opts...) // its successor, which is refused as long as the member has not left
			<-got
		})
	}
}

func TestAGroupThatIsNotThere(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if g, err := lastwill.On(t.Context(), cl, "test").Describe(t.Context(), "nowhere"); !errors.Is(err, kerr.GroupIDNotFound) {
		t.Errorf("%+v, %v", g, err)
	}
}
