package sidecar_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/proof/measured"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A stream breaks while the sidecar asks what the group has of assignments that are told again. The
// session goes on with another stream, on which they are told once more: what is committed is not
// produced again.
func TestAStreamBreaksWhileTheGroupIsAsked(t *testing.T) {
	meter := measured.New()
	inTransactions(t, func(c *sidecar.Config) { c.MeterProvider = meter }, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2)...)
		m.reported(3)
		n := &mortal{b: b, member: m.member, gen: m.gen, more: m.more}
		n.connect(t, &sidecarpb.Hello{SessionId: "t"})
		asked, let := b.held(kmsg.OffsetFetch)
		again := b.part(t, 1)
		again.Resumed = true
		n.assignAs(again)
		synctest.Wait()
		if asked.Load() == 0 {
			t.Fatal("the group is not asked")
		}
		n.cancel()
		time.Sleep(10 * time.Millisecond)
		n.connect(t, &sidecarpb.Hello{SessionId: "t", PreviousSidecarId: n.welcome.GetSidecarId()})
		if !n.welcome.GetResumed() {
			t.Fatal("the session does not go on: nothing is tested")
		}
		n.assignAs(again)
		n.units(from(0, 1, 2, 3)...)
		let()
		n.reported(4)
		if len(n.failed) > 0 {
			t.Errorf("%v", n.failed)
		}
		b.want(t, 4, 4)
		// Told again by one that goes on, it is not asked for again.
		before := asked.Load()
		n.assignAs(again)
		n.units(from(4)...)
		n.reported(5)
		if got := asked.Load(); got != before {
			t.Errorf("the group was asked %d times more of what is known", got-before)
		}
		b.want(t, 5, 5)
		told := meter.Collect(t)
		told.Want(t, 8, telemetry.Attempted)
		told.Want(t, 8, telemetry.Sent) // what was known to be acknowledged was it again
		told.Want(t, 0, telemetry.Outstanding)
	})
}

// A consumer has become another member when the group's refusal of the one before is heard: what it
// is now is not taken for unknown, and goes on.
func TestAMemberThatIsAnotherOneBeforeItIsTold(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		commits, let := b.held(kmsg.TxnOffsetCommit)
		m.units(from(0, 1)...)
		for commits.Load() == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group = "g"
		leave.Members = append(leave.Members, kmsg.LeaveGroupRequestMember{MemberID: m.member})
		if _, err := leave.RequestWith(t.Context(), m.kafka); err != nil {
			t.Fatal(err)
		}
		m.member = ""
		m.join(t)
		m.assignAs(b.part(t, 2))
		synctest.Wait()
		let()
		m.reported(2)
		if len(m.acked) > 0 {
			t.Errorf("%d units of who is no member were acknowledged", len(m.acked))
		}
		again := from(0, 1)
		for i := range again {
			again[i].src.Epoch = 2
		}
		m.units(again...)
		m.reported(4)
		if len(m.fenced) > 0 || len(m.acked) != 2 {
			t.Errorf("told %v, and %d acknowledged: %v", m.fenced, len(m.acked), m.failed)
		}
		b.want(t, 2, 2)
	})
}

// Who says that it has partitions of a group has the sidecar give up nothing of another app's: that
// one's group knows who has them.
func TestPartitionsOfOthersAreNotGivenUp(t *testing.T) {
	two := func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "app"}, {Name: "other"}} }
	inTransactions(t, two, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1)...)
		m.reported(2)
		other := openStream(t, b.conn)
		other.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "other", SessionId: "t", Features: []string{"resume", exactlyOnce}}))
		if err := other.until(func() bool { return other.welcome != nil }); err != nil {
			t.Fatal(err)
		}
		other.assign(b.part(t, 9))
		synctest.Wait()
		m.units(from(2, 3)...)
		m.reported(4)
		if len(m.acked) != 4 {
			t.Errorf("%d acknowledged: %v", len(m.acked), m.failed)
		}
		b.want(t, 4, 4)
	})
}

// A process that was taken for dead begins its partitions anew under the generation that it had,
// before it hears that they are somebody else's: who has them by a later one goes on.
func TestWhoHasALaterGenerationGivesUpNothing(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.join(t)
		if m.gen < 2 {
			t.Fatalf("generation %d", m.gen)
		}
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1)...)
		m.reported(2)
		late := openStream(t, b.conn)
		late.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "t", Features: []string{"resume", exactlyOnce}}))
		if err := late.until(func() bool { return late.welcome != nil }); err != nil {
			t.Fatal(err)
		}
		late.assign(b.part(t, 9))
		synctest.Wait()
		m.units(from(2, 3)...)
		m.reported(4)
		if len(m.acked) != 4 {
			t.Errorf("%d acknowledged: %v", len(m.acked), m.failed)
		}
		b.want(t, 4, 4)
	})
}

// What a group has cannot be read, for a reason that no time mends: its client hears it, and the
// brokers are not asked again and again.
func TestWhatAGroupHasIsRefused(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		asked := 0
		b.kafka.ControlKey(int16(kmsg.OffsetFetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			if asked++; asked > 20 {
				return nil, nil, false
			}
			req := kreq.(*kmsg.OffsetFetchRequest)
			resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
			for _, g := range req.Groups {
				rg := kmsg.NewOffsetFetchResponseGroup()
				rg.Group = g.Group
				for _, t := range g.Topics {
					rt := kmsg.NewOffsetFetchResponseGroupTopic()
					rt.Topic, rt.TopicID = t.Topic, t.TopicID
					rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
					rp.Partition, rp.ErrorCode = t.Partitions[0], kerr.TopicAuthorizationFailed.Code
					rt.Partitions = append(rt.Partitions, rp)
					rg.Topics = append(rg.Topics, rt)
				}
				resp.Groups = append(resp.Groups, rg)
			}
			return resp, nil, true
		})
		again := b.part(t, 1)
		again.Resumed = true
		m.assignAs(again)
		m.units(from(0)...)
		err := m.until(func() bool { return len(m.acked)+len(m.failed) > 0 })
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), kerr.TopicAuthorizationFailed.Message) || asked > 1 {
			t.Errorf("%v, after %d questions", err, asked)
		}
	})
}

// Who writes to a topic that does not exist waits for that answer alone.
func TestAnUnknownTopicIsItsSessionsMatter(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		other := &mortal{b: b, more: m.more}
		other.connect(t, &sidecarpb.Hello{SessionId: "u"})
		other.units(plain("out", 1)...)
		other.reported(1)
		m.units(plain("nowhere", 1)...)
		synctest.Wait() // it is asked for again in a moment
		begun := time.Now()
		other.units(plain("out", 1)...)
		other.reported(2)
		if took := time.Since(begun); took > 140*time.Millisecond || len(other.acked) != 2 {
			t.Errorf("%d of the other's acknowledged after %v", len(other.acked), took)
		}
		m.reported(1)
		if got := m.failed[1].GetError().GetCode(); got != "UNKNOWN_TOPIC_OR_PARTITION" {
			t.Errorf("the unit failed with %q", got)
		}
	})
}

// A client of the transactions begins anew and dies before it says under which membership: its
// group is left for it all the same, by what its session before had told.
func TestTheSessionBeforeSpeaksOfItsMembership(t *testing.T) {
	inTransactions(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "", exactlyOnce)
		m.assignAs(b.part(t, 1))
		m.units(from(0, 1, 2)...)
		m.reported(3)
		n := &mortal{b: b, member: m.member, gen: m.gen, more: m.more}
		n.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: "another"})
		n.cancel()
		time.Sleep(5 * time.Second)
		if left := b.members(t); left != 0 {
			t.Errorf("%d members", left)
		}
		b.want(t, 3, 3)
	})
}
