package sidecar_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// process is a session of its own, whose memberships the test names.
func (b *bubble) process(t *testing.T, session string) *mortal {
	t.Helper()
	m := &mortal{b: b}
	m.connect(t, &sidecarpb.Hello{SessionId: session})
	return m
}

func (m *mortal) assigned(a *sidecarpb.Assign) {
	m.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: a}})
}

// twins are two consumers of one process in one group, each with a partition of "in".
func twins(t *testing.T, b *bubble) (m *mortal, one, two *hand) {
	t.Helper()
	one, two = b.hand(t), b.hand(t)
	one.join()
	one.share(map[*hand][]int32{one: {0, 1}})
	two.join()
	one.join()
	one.share(map[*hand][]int32{one: {0}, two: {1}})
	<-two.waiting
	m = b.process(t, "s")
	id := b.topicID(t)
	for i, h := range []*hand{one, two} {
		m.assigned(&sidecarpb.Assign{Group: "g", MemberId: h.id, Generation: h.gen, Consumer: uint64(i) + 1,
			Partitions: []*sidecarpb.AssignedPartition{{Epoch: uint64(i) + 1, Topic: "in", TopicId: id[:], Partition: int32(i)}}})
	}
	units := from(0, 1, 2, 0, 1)
	for i := 3; i < 5; i++ {
		units[i].src.Epoch = 2
	}
	m.units(units...)
	m.reported(5)
	return m, one, two
}

func (b *bubble) offsets() [2]int64 {
	have := [2]int64{-1, -1}
	for p, commit := range b.kafka.GroupInfo("g").Commits["in"] {
		have[p] = commit.Offset
	}
	return have
}

// Two consumers of a process that are members of one group have a will each: both commit what they
// held, under their own names, and both leave.
func TestWillsOfTwoMembersOfOneGroup(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m, _, _ := twins(t, b)
		m.cancel()
		time.Sleep(3 * time.Second)
		if have := b.offsets(); have != [2]int64{3, 2} {
			t.Errorf("committed %v, want 3 and 2", have)
		}
		if n := b.members(t); n != 0 {
			t.Errorf("%d members are left", n)
		}
	})
}

// A consumer that gets another member id is the same consumer; one that has left is nobody's to
// leave for, and its place is free.
func TestMembershipsFollowTheirConsumers(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m, one, two := twins(t, b)
		m.assigned(&sidecarpb.Assign{Group: "g", MemberId: "another", Generation: one.gen, Consumer: 1})
		m.release(1, 2)
		m.assigned(&sidecarpb.Assign{Group: "g", Consumer: 2})
		for i := range uint64(1000) { // they come and go
			m.assigned(&sidecarpb.Assign{Group: "g", MemberId: "m", Consumer: 10 + i})
			m.assigned(&sidecarpb.Assign{Group: "g", Consumer: 10 + i})
		}
		m.release(2, 2)
		if err := m.until(func() bool { return m.released[2] }); err != nil {
			t.Fatalf("the stream broke: %v", err)
		}
		m.cancel()
		time.Sleep(3 * time.Second)
		if have := b.offsets(); have != [2]int64{-1, -1} {
			t.Errorf("committed %v, want nothing: the broker does not know the first one by its new id, and the second has left", have)
		}
		var left []string
		for _, g := range b.kafka.GroupInfo("g").Members {
			left = append(left, g.MemberID)
		}
		if len(left) != 2 {
			t.Errorf("members %v, want %s and %s: nobody is to be left for", left, one.id, two.id)
		}
	})
}

// A group in another cluster: delivery works, there is no will, and everybody who asks is told so.
func TestNoWillInAnotherCluster(t *testing.T) {
	for name, c := range map[string]struct {
		cluster string
		want    int64
		refused uint64
	}{"another": {"other", -1, 1}, "the same": {"kfake", 3, 0}, "unknown": {"", 3, 0}} {
		t.Run(name, func(t *testing.T) {
			inDeath(t, nil, func(t *testing.T, b *bubble) {
				h := b.hand(t)
				h.join()
				h.share(map[*hand][]int32{h: {0, 1}})
				m := b.process(t, "s")
				if got := m.welcome.GetClusterId(); got != "kfake" {
					t.Errorf("Welcome says cluster %q", got)
				}
				id := b.topicID(t)
				m.assigned(&sidecarpb.Assign{Group: "g", MemberId: h.id, Generation: h.gen, ClusterId: c.cluster,
					Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in", TopicId: id[:]}}})
				m.units(from(0, 1, 2)...)
				m.reported(3)
				st, err := b.sc.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				why := st.GetSessions()[0].GetNoWill()
				if (why != "") != (c.refused > 0) || why != "" && (!strings.Contains(why, `"other"`) || !strings.Contains(why, `"kfake"`)) {
					t.Errorf("Status says %q", why)
				}
				m.cancel()
				time.Sleep(3 * time.Second)
				if at, _ := b.committed(t); at != c.want {
					t.Errorf("committed %d, want %d", at, c.want)
				}
				if n := b.members(t); n != int(c.refused) {
					t.Errorf("%d members: a group of another cluster is not left", n)
				}
				st, _ = b.sc.Status(t.Context())
				if w := st.GetWills(); w.GetRefused() != c.refused || w.GetExecuted() != 1 || w.GetComplete() != 1-c.refused {
					t.Errorf("%v, want %d refused", w, c.refused)
				}
			})
		})
	}
}

// A client that names no member to a sidecar wants no will: its units are delivered and reported,
// and when it dies nothing is committed, and nobody is left for it.
func TestNoWillForANamelessMember(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		h := b.hand(t)
		h.join()
		h.share(map[*hand][]int32{h: {0, 1}})
		m := b.process(t, "s")
		id := b.topicID(t)
		for range 2 { // again, as after each rebalance
			m.assigned(&sidecarpb.Assign{Group: "g", Partitions: []*sidecarpb.AssignedPartition{{Epoch: 1, Topic: "in", TopicId: id[:]}}})
		}
		m.units(from(0, 1, 2)...)
		m.reported(3)
		m.cancel()
		time.Sleep(3 * time.Second)
		if at, _ := b.committed(t); at != -1 || b.members(t) != 1 {
			t.Errorf("committed %d, %d members", at, b.members(t))
		}
		st, err := b.sc.Status(t.Context())
		if err != nil || len(st.GetSessions()) != 0 || st.GetWills().GetExecuted() != 1 {
			t.Errorf("%d sessions, wills %v, %v", len(st.GetSessions()), st.GetWills(), err)
		}
	})
}
