package sidecar_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// mortal is an app process: a member of group g, joined by hand, and a session that can go on.
type mortal struct {
	*client
	b      *bubble
	kafka  *kgo.Client
	member string
	gen    int32
	inst   *string
	more   []string // features
}

func (b *bubble) mortal(t *testing.T, session, instance string, more ...string) *mortal {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.ListenAddrs()...), kgo.Dialer(b.net.DialContext), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	m := &mortal{b: b, kafka: cl, more: more}
	if instance != "" {
		m.inst = &instance
	}
	m.join(t)
	m.connect(t, &sidecarpb.Hello{SessionId: session})
	m.assignAs()
	synctest.Wait() // a stream that is cut now would take that with it
	return m
}

func (m *mortal) join(t *testing.T) {
	t.Helper()
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{"in"}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.ProtocolType, req.MemberID, req.InstanceID = "g", "consumer", m.member, m.inst
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 45_000, 60_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "cooperative-sticky", meta.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	var resp *kmsg.JoinGroupResponse
	for range 2 { // the first answer gives the member id
		var err error
		if resp, err = req.RequestWith(t.Context(), m.kafka); err != nil {
			t.Fatal(err)
		}
		req.MemberID = resp.MemberID
	}
	m.member, m.gen = resp.MemberID, resp.Generation
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation, sync.InstanceID = "g", m.member, m.gen, m.inst
	sync.ProtocolType, sync.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("cooperative-sticky")
	a := kmsg.NewSyncGroupRequestGroupAssignment()
	a.MemberID, a.MemberAssignment = m.member, (&kmsg.ConsumerMemberAssignment{}).AppendTo(nil)
	sync.GroupAssignment = append(sync.GroupAssignment, a)
	if _, err := sync.RequestWith(t.Context(), m.kafka); err != nil {
		t.Fatal(err)
	}
}

// connect opens a stream with Hello, and hears Welcome.
func (m *mortal) connect(t *testing.T, h *sidecarpb.Hello) {
	t.Helper()
	h.Version, h.App, h.Features = 1, "app", append([]string{"resume"}, m.more...)
	old := m.client
	m.client = openStream(t, m.b.conn)
	if old != nil {
		m.next, m.acked, m.failed, m.released = old.next, old.acked, old.failed, old.released
		m.sent.Store(old.next)
	}
	m.send(helloMsg(h))
	if err := m.until(func() bool { return m.welcome != nil }); err != nil {
		t.Fatal(err)
	}
}

func (m *mortal) assignAs(parts ...*sidecarpb.AssignedPartition) {
	a := &sidecarpb.Assign{Group: "g", MemberId: m.member, Generation: m.gen, Partitions: parts}
	if m.inst != nil {
		a.InstanceId = *m.inst
	}
	m.send(&sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: a}})
}

func (b *bubble) topicID(t *testing.T) [16]byte {
	t.Helper()
	details, err := b.admin(t).ListTopics(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	return [16]byte(details["in"].ID)
}

func (b *bubble) admin(t *testing.T) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.ListenAddrs()...), kgo.Dialer(b.net.DialContext), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// committed returns what group g has for partition 0 of "in", and its done-set as runs.
func (b *bubble) committed(t *testing.T) (int64, []donemeta.Run) {
	t.Helper()
	all, err := b.admin(t).FetchOffsets(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	o, ok := all.Lookup("in", 0)
	if !ok {
		return -1, nil
	}
	runs, err := donemeta.Parse(o.Metadata, donemeta.Binding{TopicID: b.topicID(t), Base: o.At, LeaderEpoch: o.LeaderEpoch}, nil)
	if err != nil {
		t.Errorf("metadata %q: %v", o.Metadata, err)
	}
	return o.At, runs
}

func (b *bubble) members(t *testing.T) int {
	t.Helper()
	g := b.kafka.GroupInfo("g")
	if g == nil {
		return 0
	}
	return len(g.Members)
}

// slow makes every produce request take so long, until 0 is stored.
func (b *bubble) slow(d time.Duration) *atomic.Int64 {
	var pause atomic.Int64
	pause.Store(int64(d))
	b.kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.kafka.KeepControl()
		if d := time.Duration(pause.Load()); d > 0 {
			b.kafka.SleepControl(func() { time.Sleep(d) })
		}
		return nil, nil, false
	})
	return &pause
}

// from makes units out of inputs of epoch 1; index and offset are the same.
func from(indices ...uint64) []testUnit {
	units := plain("out", len(indices))
	for i, index := range indices {
		units[i].src = wire.Source{Epoch: 1, Index: index, Offset: int64(index)}
	}
	return units
}

func inDeath(t *testing.T, change func(*sidecar.Config), f func(t *testing.T, b *bubble)) {
	t.Helper()
	inBubble(t, change, func(t *testing.T, b *bubble) {
		if _, err := b.admin(t).CreateTopic(t.Context(), 2, 1, nil, "in"); err != nil {
			t.Fatal(err)
		}
		f(t, b)
	})
}

// The will: what was received is finished, then the ack mark and what is done above it are
// committed as the dead member, then its group is left, then the session is closed for good.
func TestWill(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]}, &sidecarpb.AssignedPartition{Epoch: 2, Topic: "in", Partition: 1, TopicId: id[:], StartOffset: 7})
		m.units(from(0, 1, 2, 3, 4, 6, 7, 9)...)
		m.reported(8)
		slow := b.slow(300 * time.Millisecond)
		m.units(from(5)...)
		synctest.Wait()
		m.cancel()
		time.Sleep(900 * time.Millisecond) // within the grace
		if at, _ := b.committed(t); at != -1 || b.members(t) != 1 {
			t.Errorf("committed %d and %d members before the grace was over", at, b.members(t))
		}
		slow.Store(0)
		time.Sleep(2 * time.Second)
		at, runs := b.committed(t)
		if at != 8 || len(runs) != 1 || runs[0] != (donemeta.Run{First: 9, Last: 9}) {
			t.Errorf("committed %d with %v, want 8 with 9", at, runs)
		}
		if n := b.members(t); n != 0 {
			t.Errorf("%d members, want the dead one to have left", n)
		}
		st, err := b.sc.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if w := st.GetWills(); w.GetExecuted() != 1 || w.GetComplete() != 1 || w.GetPartitions() != 2 || len(st.GetSessions()) != 0 {
			t.Errorf("status: %v, %d sessions", w, len(st.GetSessions()))
		}
		late := openStream(t, b.conn)
		late.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{"resume"}, PreviousSidecarId: m.welcome.GetSidecarId()}))
		late.ends(codes.Aborted, "SESSION_FENCED")
	})
}

// The will of a static member commits and does not leave; a released epoch is not in a will;
// Goodbye leaves none.
func TestWhatIsNotInAWill(t *testing.T) {
	for name, c := range map[string]struct {
		instance string
		do       func(m *mortal)
		want     int64
		members  int
	}{
		"static":   {"i", func(*mortal) {}, 3, 1},
		"released": {"", func(m *mortal) { m.release(1, 1) }, -1, 0},
		"goodbye":  {"", func(m *mortal) { m.goodbye() }, -1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inDeath(t, nil, func(t *testing.T, b *bubble) {
				m := b.mortal(t, "s", c.instance)
				id := b.topicID(t)
				m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
				m.units(from(0, 1, 2)...)
				m.reported(3)
				c.do(m)
				synctest.Wait()
				m.cancel()
				time.Sleep(3 * time.Second)
				if at, _ := b.committed(t); at != c.want || b.members(t) != c.members {
					t.Errorf("committed %d, %d members; want %d and %d", at, b.members(t), c.want, c.members)
				}
			})
		})
	}
}

// A commit of the dead process that the broker takes after the will's is repaired before the group
// is left; one that is further is left alone.
func TestWillReadsBack(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		m.units(from(0, 1, 2, 3, 4)...)
		m.reported(5)
		commits, left := 0, false
		b.kafka.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			commits++
			return nil, nil, false
		})
		b.kafka.ControlKey(int16(kmsg.OffsetFetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.kafka.KeepControl()
			if commits == 1 { // the second reading: the late commit comes first
				commits++
				go m.commit(2)
				b.kafka.SleepControl(func() { time.Sleep(50 * time.Millisecond) })
			}
			return nil, nil, false
		})
		b.kafka.ControlKey(int16(kmsg.LeaveGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
			left = true
			return nil, nil, false
		})
		m.cancel()
		time.Sleep(3 * time.Second)
		if at, _ := b.committed(t); at != 5 || !left {
			t.Errorf("committed %d, left %v: want 5 and the group left", at, left)
		}
		st, _ := b.sc.Status(t.Context())
		if n := st.GetWills().GetRepaired(); n != 1 {
			t.Errorf("%d repaired, want 1", n)
		}
	})
}

// commit is one that the process had on its way.
func (m *mortal) commit(offset int64) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = "g", m.member, m.gen
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID = "in", m.b.kafka.TopicInfo("in").TopicID
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	_, _ = req.RequestWith(context.Background(), m.kafka)
}

// A membership that ended, for the broker, ends the will without harm; a rebalance is waited for.
func TestWillMeetsTheBroker(t *testing.T) {
	for name, c := range map[string]struct {
		err   *kerr.Error
		count int
		want  int64
	}{
		"illegal generation":    {kerr.IllegalGeneration, -1, -1},
		"unknown member":        {kerr.UnknownMemberID, -1, -1},
		"rebalance in progress": {kerr.RebalanceInProgress, 3, 3},
		"not coordinator":       {kerr.NotCoordinator, 3, 3},
		"metadata too large":    {kerr.OffsetMetadataTooLarge, 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			inDeath(t, nil, func(t *testing.T, b *bubble) {
				m := b.mortal(t, "s", "")
				id := b.topicID(t)
				m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
				m.units(from(0, 1, 2, 4)...)
				m.reported(4)
				b.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: c.err, Count: c.count})
				m.cancel()
				time.Sleep(10 * time.Second)
				at, runs := b.committed(t)
				if at != c.want || b.members(t) != 0 {
					t.Errorf("committed %d, %d members; want %d and nobody left", at, b.members(t), c.want)
				}
				st, _ := b.sc.Status(t.Context())
				var superseded uint64
				if c.want < 0 {
					superseded = 1
				}
				if w := st.GetWills(); w.GetExecuted() != 1 || w.GetSuperseded() != superseded || w.GetComplete() != 1-superseded {
					t.Errorf("%v, want %d superseded", w, superseded)
				}
				if name == "metadata too large" && len(runs) != 0 {
					t.Errorf("a done-set %v was committed after all", runs)
				}
			})
		})
	}
}

// A client that comes back within the grace goes on: nothing is committed for it, what it did not
// hear is reported once, and what was finished meanwhile arrives (S12).
func TestSessionGoesOn(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		as := &sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]}
		m.assignAs(as)
		m.units(from(0, 1, 2)...)
		bad := plain("nosuchtopic", 1)
		m.units(bad...)
		m.reported(4) // and the client forgets that it heard of 2 and 4
		failure := m.failed[4]
		delete(m.acked, 2)
		delete(m.failed, 4)
		slow := b.slow(300 * time.Millisecond)
		m.units(from(3, 4)...)
		synctest.Wait()
		m.cancel()
		time.Sleep(500 * time.Millisecond)
		slow.Store(0)
		m.next = 9 // two that never arrived
		m.connect(t, &sidecarpb.Hello{SessionId: "s", PreviousSidecarId: m.welcome.GetSidecarId(), LastReport: 1, Unreported: []*sidecarpb.Range{{First: 2, Count: 1}, {First: 4, Count: 5}}})
		if !m.welcome.GetResumed() || m.welcome.GetHighestSequence() != 6 {
			t.Fatalf("Welcome %v, want it to go on from 6", m.welcome)
		}
		m.assignAs(as)
		m.reported(6)
		if f := m.failed[4]; f == nil || f.GetError().GetCode() != failure.GetError().GetCode() {
			t.Errorf("the failure of 4 is reported as %v, want %v", f, failure)
		}
		m.next = 7
		m.units(from(5, 6)...)
		m.reported(8)
		time.Sleep(5 * time.Second)
		if at, _ := b.committed(t); at != -1 || b.members(t) != 1 {
			t.Errorf("committed %d, %d members: a living client commits itself", at, b.members(t))
		}
		if got := consume(t, b.kafka.ListenAddrs(), "out", 7, kgo.Dialer(b.net.DialContext)); len(got) != 7 {
			t.Errorf("%d records, want 7", len(got))
		}
		m.release(1, 1)
		if err := m.until(func() bool { return m.released[1] }); err != nil {
			t.Error(err)
		}
		m.release(2, 1) // again, as after a cut
		if err := m.until(func() bool { return m.released[2] }); err != nil {
			t.Error(err)
		}
	})
}

// A session does not go on where what the client says does not fit: it begins anew, or the client
// is told what it did wrong.
func TestSessionDoesNotGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		hello  *sidecarpb.Hello
		code   codes.Code
		says   string
		begins bool
	}{
		"another sidecar's":       {hello: &sidecarpb.Hello{PreviousSidecarId: "other", Unreported: []*sidecarpb.Range{{First: 1, Count: 3}}}, begins: true},
		"an open one unmentioned": {hello: &sidecarpb.Hello{Unreported: []*sidecarpb.Range{{First: 1, Count: 2}}}, begins: true},
		"ranges overlap":          {hello: &sidecarpb.Hello{Unreported: []*sidecarpb.Range{{First: 1, Count: 2}, {First: 2, Count: 2}}}, code: codes.InvalidArgument, says: "increase"},
		"empty range":             {hello: &sidecarpb.Hello{Unreported: []*sidecarpb.Range{{First: 1}}}, code: codes.InvalidArgument, says: "empty"},
		"endless range":           {hello: &sidecarpb.Hello{Unreported: []*sidecarpb.Range{{First: 1, Count: 1<<64 - 1}}}, code: codes.InvalidArgument, says: "ranges"},
		"another process":         {hello: &sidecarpb.Hello{PreviousSidecarId: "none"}, code: codes.Aborted, says: "SESSION_FENCED"},
	} {
		t.Run(name, func(t *testing.T) {
			inDeath(t, nil, func(t *testing.T, b *bubble) {
				m := b.mortal(t, "s", "")
				hold := b.slow(5 * time.Second)
				m.units(plain("out", 3)...)
				synctest.Wait()
				m.cancel()
				time.Sleep(100 * time.Millisecond)
				h := c.hello
				h.Version, h.App, h.SessionId, h.Features = 1, "app", "s", []string{"resume"}
				switch h.PreviousSidecarId {
				case "":
					h.PreviousSidecarId = m.welcome.GetSidecarId()
				case "none":
					h.PreviousSidecarId = ""
				}
				n := openStream(t, b.conn)
				n.send(helloMsg(h))
				if !c.begins {
					n.ends(c.code, c.says)
				} else if err := n.until(func() bool { return n.welcome != nil }); err != nil || n.welcome.GetResumed() {
					t.Errorf("%v, Welcome %v: want a session that begins", err, n.welcome)
				}
				hold.Store(0)
			})
		})
	}
}

// What was received whole is finished after its stream broke, however slow Kafka is; what was not
// is not.
func TestReceivedUnitsAreFinished(t *testing.T) {
	inDeath(t, func(c *sidecar.Config) { c.MaxRecords, c.MaxSessions = 4096, 4 }, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		slow := b.slow(2 * time.Second)
		for i := range uint64(50) {
			m.units(from(2*i, 2*i+1)...)
		}
		time.Sleep(10 * time.Millisecond)
		m.cancel()
		time.Sleep(5 * time.Second)
		slow.Store(0)
		time.Sleep(20 * time.Second)
		at, _ := b.committed(t)
		ends, err := b.admin(t).ListEndOffsets(t.Context(), "out")
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		if at <= 0 || n != at {
			t.Errorf("committed %d, %d outputs are in the log: want as many as inputs are committed", at, n)
		}
	})
}

// A second process under the same id, and a first one that is dead: the second is told at once, and
// need not wait for the grace.
func TestRestartUnderTheSameID(t *testing.T) {
	inDeath(t, func(c *sidecar.Config) { c.ReconnectGrace = time.Minute }, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		m.units(from(0, 1, 2)...)
		m.reported(3)
		m.cancel()
		time.Sleep(time.Second)
		n := openStream(t, b.conn)
		n.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{"resume"}}))
		n.ends(codes.Aborted, "SESSION_FENCED", "unique")
		time.Sleep(time.Second)
		if at, _ := b.committed(t); at != 3 || b.members(t) != 0 {
			t.Errorf("committed %d, %d members: want the will of the first one executed", at, b.members(t))
		}
	})
}

// An assignment that began with another sidecar is known from where it is now: its will commits.
func TestWillOfAStayThatBeganElsewhere(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:], StartOffset: 10, StartIndex: 10, Done: []*sidecarpb.DoneRun{{Index: 12, Offset: 12, Count: 3}, {Index: 1 << 62, Offset: 1 << 62, Count: 1 << 62}}})
		m.units(from(10, 11, 16)...)
		m.units(from(3)...) // from before: done, and not counted
		m.reported(4)
		m.cancel()
		time.Sleep(3 * time.Second)
		at, runs := b.committed(t)
		if at != 15 || len(runs) != 1 || runs[0].First != 16 {
			t.Errorf("committed %d with %v, want 15 with 16", at, runs)
		}
	})
}

// A drain waits for a will.
func TestDrainWaitsForAWill(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		slow := b.slow(3 * time.Second)
		m.units(from(0, 1, 2)...)
		synctest.Wait()
		m.cancel()
		time.Sleep(1100 * time.Millisecond) // the will has begun
		slow.Store(0)
		_ = b.sc.Close()
		if at, _ := b.committed(t); at != 3 || b.members(t) != 0 {
			t.Errorf("committed %d, %d members: want the will executed before Close returns", at, b.members(t))
		}
	})
}

// Who comes back while the will is executed hears that its session is over when the group has been
// left, not before: it would join again under the same member id, and the will would leave the
// group for that.
func TestComingBackDuringAWill(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		b.slow(2 * time.Second) // and 4 if the units go in two requests
		m.units(from(0, 1, 2)...)
		synctest.Wait()
		m.cancel()
		time.Sleep(1500 * time.Millisecond)
		n := openStream(t, b.conn)
		n.send(helloMsg(&sidecarpb.Hello{Version: 1, App: "app", SessionId: "s", Features: []string{"resume"}, PreviousSidecarId: m.welcome.GetSidecarId(), Unreported: []*sidecarpb.Range{{First: 1, Count: 3}}}))
		n.ends(codes.Aborted, "SESSION_FENCED")
		if at, _ := b.committed(t); at != 3 || b.members(t) != 0 {
			t.Errorf("committed %d, %d members when the client was refused: want the will executed before", at, b.members(t))
		}
	})
}

// A process that goes on with another session is alive: nobody commits for it, and nobody leaves
// its group.
func TestNoWillForTheLiving(t *testing.T) {
	inDeath(t, nil, func(t *testing.T, b *bubble) {
		m := b.mortal(t, "s", "")
		id := b.topicID(t)
		m.assignAs(&sidecarpb.AssignedPartition{Epoch: 1, Topic: "in", TopicId: id[:]})
		m.units(from(0, 1, 2)...)
		m.reported(3)
		m.cancel()
		m.client = nil
		m.connect(t, &sidecarpb.Hello{SessionId: "other"})
		m.assignAs()
		time.Sleep(3 * time.Second)
		if at, _ := b.committed(t); at != -1 || b.members(t) != 1 {
			t.Errorf("committed %d, %d members: want nothing done for a process that lives", at, b.members(t))
		}
	})
}
