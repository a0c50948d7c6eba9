package sidecar_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/sidecar"
)

// hand is a member of group g that sends each request of the group protocol when it is told to.
type hand struct {
	t       *testing.T
	kafka   *kgo.Client
	id      string
	inst    *string // of a static member
	gen     int32
	waiting chan struct{} // closed when its JoinGroup is answered
}

func (b *bubble) hand(t *testing.T) *hand {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.ListenAddrs()...), kgo.Dialer(b.net.DialContext), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &hand{t: t, kafka: cl}
}

// join returns when the broker has the JoinGroup: its answer comes when all members have joined.
func (h *hand) join() {
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{"in"}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.ProtocolType, req.MemberID, req.InstanceID = "g", "consumer", h.id, h.inst
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 45_000, 60_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "cooperative-sticky", meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	if h.id == "" && h.inst == nil { // the first answer gives the id
		resp, err := req.RequestWith(h.t.Context(), h.kafka)
		if err != nil {
			h.t.Fatal(err)
		}
		h.id, req.MemberID = resp.MemberID, resp.MemberID
	}
	h.waiting = make(chan struct{})
	go func() {
		defer close(h.waiting)
		if resp, err := req.RequestWith(h.t.Context(), h.kafka); err == nil && resp.ErrorCode == 0 {
			h.id, h.gen = resp.MemberID, resp.Generation
		}
	}()
	synctest.Wait()
}

// share is the leader's SyncGroup: who gets which partitions.
func (h *hand) share(given map[*hand][]int32) {
	h.t.Helper()
	<-h.waiting
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation, sync.InstanceID = "g", h.id, h.gen, h.inst
	sync.ProtocolType, sync.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("cooperative-sticky")
	for m, parts := range given {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic, t.Partitions = "in", parts
		a.MemberID, a.MemberAssignment = m.id, (&kmsg.ConsumerMemberAssignment{Topics: []kmsg.ConsumerMemberAssignmentTopic{t}}).AppendTo(nil)
		sync.GroupAssignment = append(sync.GroupAssignment, a)
	}
	resp, err := sync.RequestWith(h.t.Context(), h.kafka)
	if err != nil || resp.ErrorCode != 0 {
		h.t.Fatalf("SyncGroup: %v, code %d", err, resp.ErrorCode)
	}
}

// An app that dies amid a rebalance has joined a generation that its sidecar does not know. Its
// will finds that generation, and commits what no other member has been given. It does so only for
// the dead, and does not wait for a leader that is dead itself.
func TestWillInALaterGeneration(t *testing.T) {
	const none = int64(-1)
	type group struct{ dead, other, third *hand }
	// In the generation that the sidecar knows, the dead member leads the group alone. Then both
	// join the next one.
	again := func(g group) {
		if g.other.id == "" {
			g.other.join()
			g.dead.join()
			return
		}
		g.dead.join() // who leads may demand a rebalance, who follows only takes part
		g.other.join()
	}
	for name, c := range map[string]struct {
		then       func(g group)
		living     bool
		want       [2]int64
		superseded bool
		within     time.Duration
	}{
		"the generation that it was told of": {then: func(group) {}, want: [2]int64{5, 7}},
		"the next one, it keeps all": {then: func(g group) {
			again(g)
			g.dead.share(map[*hand][]int32{g.dead: {0, 1}})
		}, want: [2]int64{5, 7}},
		"the next one, what it should release": {then: func(g group) {
			again(g)
			g.dead.share(map[*hand][]int32{g.dead: {0}})
		}, want: [2]int64{5, 7}},
		"the next one, another rebalance has begun": {then: func(g group) {
			again(g)
			g.dead.share(map[*hand][]int32{g.dead: {0}})
			g.third.join()
		}, want: [2]int64{5, 7}},
		"two later, another member has one": {then: func(g group) {
			again(g)
			g.dead.share(map[*hand][]int32{g.dead: {0}})
			again(g)
			g.dead.share(map[*hand][]int32{g.dead: {0}, g.other: {1}})
		}, want: [2]int64{5, none}},
		"two later, a static member has one": {then: func(g group) {
			g.other.inst = new("i")
			again(g)
			<-g.dead.waiting
			<-g.other.waiting
			g.dead.share(map[*hand][]int32{g.dead: {0}})
			again(g)
			g.dead.share(map[*hand][]int32{g.dead: {0}, g.other: {1}})
		}, want: [2]int64{5, none}},
		"five later": {then: func(g group) {
			for range 5 {
				again(g)
				g.dead.share(map[*hand][]int32{g.dead: {0, 1}})
			}
		}, want: [2]int64{none, none}, superseded: true, within: 2 * time.Second},
		"the leader is dead": {then: again, want: [2]int64{none, none}, superseded: true, within: 2 * time.Second},
		"its death is a guess": {then: func(g group) {
			again(g)
			g.dead.share(map[*hand][]int32{g.dead: {0, 1}})
		}, living: true, want: [2]int64{none, none}, superseded: true},
		"the broker took it out": {then: func(g group) {
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Group, req.MemberID = "g", g.dead.id
			m := kmsg.NewLeaveGroupRequestMember()
			m.MemberID = g.dead.id
			req.Members = append(req.Members, m)
			if _, err := req.RequestWith(g.dead.t.Context(), g.dead.kafka); err != nil {
				g.dead.t.Fatal(err)
			}
		}, want: [2]int64{none, none}, superseded: true},
	} {
		t.Run(name, func(t *testing.T) {
			inDeath(t, nil, func(t *testing.T, b *bubble) {
				g := group{b.hand(t), b.hand(t), b.hand(t)}
				g.dead.join()
				g.dead.share(map[*hand][]int32{g.dead: {0, 1}})
				told := g.dead.gen
				c.then(g)
				begun := time.Now()
				got, err := b.sc.ExecuteWill(t.Context(), g.dead.id, told, !c.living, "in", b.topicID(t), []int64{5, 7})
				if want := (sidecar.WillOutcome{Committed: got.Committed, Superseded: c.superseded, Left: true}); err != nil || got != want {
					t.Errorf("%+v, %v; want %+v", got, err, want)
				}
				if took := time.Since(begun); took > c.within {
					t.Errorf("it took %v, at most %v were expected", took, c.within)
				}
				have := [2]int64{none, none}
				for p, commit := range b.kafka.GroupInfo("g").Commits["in"] {
					have[p] = commit.Offset
				}
				if have != c.want {
					t.Errorf("committed %v, want %v", have, c.want)
				}
				for _, m := range b.kafka.GroupInfo("g").Members {
					if m.MemberID == g.dead.id {
						t.Error("the dead member was not taken out of the group")
					}
				}
			})
		})
	}
}
