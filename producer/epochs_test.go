package producer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A sidecar of an older version would stay in the group for a static member of the consumer
// protocol, and its successor would be refused for a whole session: it is not told who that is.
// All else it can do, or is right to do.
func TestAnOlderSidecarDoesNotLeaveForStaticMembers(t *testing.T) {
	for name, on := range map[string]struct {
		features []string
		m        producer.Membership
		told     bool
	}{
		"older, static":          {nil, producer.Membership{InstanceID: "i", Protocol: producer.ConsumerProtocol}, false},
		"older, dynamic":         {nil, producer.Membership{Protocol: producer.ConsumerProtocol}, true},
		"older, static, classic": {nil, producer.Membership{InstanceID: "i"}, true},
		"static":                 {[]string{"epochs"}, producer.Membership{InstanceID: "i", Protocol: producer.ConsumerProtocol}, true},
	} {
		t.Run(name, func(t *testing.T) {
			on.m.Group, on.m.MemberID, on.m.Generation, on.m.Consumer = "g", "m", 5, 3
			bubble(t, func(x *script) {
				x.hello = func(*sidecarpb.Hello) (*sidecarpb.Welcome, error) {
					return &sidecarpb.Welcome{Version: 1, Features: on.features, Credit: &sidecarpb.Credit{Bytes: 1 << 20, Records: 1000}}, nil
				}
			}, func(t *testing.T, x *script, p producer.Producer) {
				assign := func(epoch uint64) {
					t.Helper()
					if err := p.Assign(t.Context(), on.m, []producer.Assignment{{Epoch: epoch, Topic: "in"}}); err != nil {
						t.Fatal(err)
					}
				}
				assign(1)
				deliver(t, p, numbered(1)...) // now there is a stream
				assign(2)
				synctest.Wait()
				x.session(0).closing <- errCut
				deliver(t, p, numbered(1)...)
				time.Sleep(time.Minute)
				if n := x.sessionCount(); n != 2 {
					t.Errorf("%d streams, want another one", n)
				}
				for i := range x.sessionCount() {
					s := x.session(i)
					s.mu.Lock()
					if len(s.assigns) == 0 {
						t.Errorf("session %d was told of no assignment", i)
					}
					for _, a := range s.assigns {
						want := sidecarpb.Assign{Group: "g", Consumer: 3}
						if on.told {
							want.MemberId, want.Generation, want.InstanceId = "m", 5, on.m.InstanceID
						}
						if a.GetGroup() != "g" || a.GetConsumer() != 3 || a.GetMemberId() != want.GetMemberId() || a.GetGeneration() != want.GetGeneration() ||
							a.GetInstanceId() != want.GetInstanceId() || len(a.GetPartitions()) == 0 {
							t.Errorf("session %d was told %v", i, a)
						}
						if epochs := a.GetProtocol() == sidecarpb.GroupProtocol_GROUP_PROTOCOL_CONSUMER; epochs != (on.told && on.m.Protocol == producer.ConsumerProtocol) {
							t.Errorf("session %d was told of %v", i, a.GetProtocol())
						}
					}
					s.mu.Unlock()
				}
			})
		})
	}
}
