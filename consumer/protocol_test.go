package consumer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// epochs is the configuration of a member of the consumer protocol.
func (l *lab) epochs() Config {
	cfg := l.config()
	cfg.Protocol = ConsumerProtocol
	return cfg
}

// leaveFor takes a member out of the group, as its will does.
func (l *lab) leaveFor(m *member) {
	l.t.Helper()
	cl := l.newClient()
	defer cl.Close()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = groupName, m.State().Membership.MemberID, -1
	resp, err := req.RequestWith(context.Background(), cl)
	if err != nil || resp.ErrorCode != 0 {
		l.t.Fatal(err, kerr.ErrorForCode(resp.ErrorCode))
	}
}

// requests counts those of a kind from now on.
func (l *lab) requests(key kmsg.Key) func() int {
	var mu sync.Mutex
	n := 0
	l.cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		n++
		return nil, nil, false
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// The brokers ask for a heartbeat every 5 s. A member that heartbeats no more often would learn as
// late that another one's partitions are its own.
func TestASurvivorNoticesALeaveSoon(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		var s seen
		a, b := l.start(l.epochs(), s.deliver), l.start(l.epochs(), s.deliver)
		l.untilSpread(a, b)
		time.Sleep(7 * time.Second) // at whatever point of the brokers' interval
		wantNil(t, b.stop())
		begun := time.Now()
		l.untilSpread(a)
		if took := time.Since(begun); took > 4*DefaultHeartbeatInterval {
			t.Errorf("the partitions moved after %v", took)
		}
	})
}

// A member that the group does not know any more loses what it held, joins as a new one and goes on
// from what is committed.
func TestAMemberThatWasTakenOutJoinsAnew(t *testing.T) {
	for name, out := range map[string]func(l *lab, m *member){
		"by its will": (*lab).leaveFor,
		"fenced":      func(_ *lab, m *member) { m.Fence(errors.New("taken for dead")) },
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 6, func(t *testing.T, l *lab) {
				var s seen
				m := l.start(l.epochs(), s.deliver)
				l.untilSpread(m)
				l.feed(0, 10)
				l.untilCommitted(0, 10)
				before := m.State().Membership.MemberID
				out(l, m)
				l.until("it is another member", func() bool { now := m.State(); return now.Joined && now.Membership.MemberID != before })
				l.untilSpread(m)
				l.feed(0, 10)
				l.untilCommitted(0, 20)
				wantNil(t, m.stop())
				for o := range int64(20) {
					if n := s.done[0][o]; n != 1 {
						t.Errorf("offset %d was done %d times", o, n)
					}
				}
			})
		})
	}
}

// A commit under an epoch that has just become an older one is made again under the new one.
// Nothing is lost, and nothing done twice.
func TestAStaleEpochIsNoEnd(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg, lost := l.epochs(), 0
		cfg.Hooks.Lost = func([]*Assignment) { lost++ }
		var s seen
		m := l.start(cfg, s.deliver)
		l.until("joined", func() bool { return m.State().Joined })
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.StaleMemberEpoch, Count: 3})
		l.feed(0, 10)
		l.untilCommitted(0, 10)
		wantNil(t, m.stop())
		if lost > 0 || len(s.done[0]) != 10 || s.done[0][0] != 1 {
			t.Errorf("lost %d times; done %v", lost, s.done[0])
		}
	})
}

// The epoch moves with others' comings and goings, also where no callback tells of it. Who follows
// the assignments is told the last one: a will is made under it.
func TestTheLastEpochIsTold(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		var mu sync.Mutex
		var told Membership
		cfg := l.epochs()
		cfg.Hooks.Assigned = func(_ context.Context, m Membership, _ []*Assignment) {
			mu.Lock()
			defer mu.Unlock()
			told = m
		}
		a, b := l.start(cfg, nil), l.start(l.epochs(), nil)
		l.until("each has one", func() bool { return len(a.State().Partitions) == 1 && len(b.State().Partitions) == 1 })
		mu.Lock()
		before := told
		mu.Unlock()
		idle := l.start(l.epochs(), nil) // there is none left for it: nobody is assigned anything
		l.until("it has joined", func() bool { return idle.State().Joined })
		time.Sleep(3 * DefaultHeartbeatInterval)
		id, epoch := a.Client().GroupMetadata()
		mu.Lock()
		defer mu.Unlock()
		if told.MemberID != id || told.Generation != epoch || told.Protocol != ConsumerProtocol {
			t.Errorf("told %+v, it is %s in epoch %d", told, id, epoch)
		}
		if epoch <= before.Generation {
			t.Errorf("nothing moved the epoch: %d", epoch)
		}
	})
}

// A static member that stops leaves for now: its partitions wait, and its next process has them at
// once.
func TestAStaticMemberReturnsToItsPartitions(t *testing.T) {
	inLab(t, 6, func(t *testing.T, l *lab) {
		// As Kafka 4.3.1 does, and the embedded broker does not.
		l.cluster.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			hb := req.(*kmsg.ConsumerGroupHeartbeatRequest)
			if hb.MemberEpoch != -2 || hb.InstanceID != nil {
				return nil, nil, false
			}
			resp := hb.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
			resp.ErrorCode = kerr.InvalidRequest.Code
			return resp, nil, true
		})
		cfg := l.epochs()
		cfg.InstanceID = "one"
		other := l.start(l.epochs(), nil)
		m := l.start(cfg, nil)
		l.untilSpread(m, other)
		wantNil(t, m.stop())
		time.Sleep(5 * time.Second)
		if n := len(other.State().Partitions); n != 3 {
			t.Errorf("the other member has %d partitions", n)
		}
		begun := time.Now()
		m = l.start(cfg, nil)
		l.untilSpread(m, other)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it was back after %v", took)
		}
	})
}

// A static member whose former process left no will waits for that one's session to be over; then
// another process has its id for certain.
func TestAStaticMemberWaitsForItsPlace(t *testing.T) {
	for name, released := range map[string]bool{"its session ends": true, "another process has its id": false} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				var mu sync.Mutex
				held := true
				l.cluster.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
					l.cluster.KeepControl()
					mu.Lock()
					defer mu.Unlock()
					hb := req.(*kmsg.ConsumerGroupHeartbeatRequest)
					if !held || hb.MemberEpoch != 0 {
						return nil, nil, false
					}
					resp := hb.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
					resp.ErrorCode = kerr.UnreleasedInstanceID.Code
					return resp, nil, true
				})
				cfg := l.epochs()
				cfg.InstanceID = "one"
				m := l.start(cfg, nil)
				if !released {
					if e := wantAs[*GroupError](t, m.wait()); !errors.Is(e, kerr.UnreleasedInstanceID) {
						t.Error(e)
					}
					return
				}
				time.Sleep(DefaultSessionTimeout)
				mu.Lock()
				held = false
				mu.Unlock()
				l.until("joined", func() bool { return m.State().Joined })
				wantNil(t, m.stop())
			})
		})
	}
}

func TestAHaltedPartitionIsResumedWithoutAJoin(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var mu sync.Mutex
		broken := true
		m := l.start(l.epochs(), func(b *Batch) {
			for i := range b.Messages {
				in := &b.Messages[i]
				if !in.Start() {
					continue
				}
				mu.Lock()
				if broken && in.Offset == 3 {
					in.Done(errors.New("broken"))
				} else {
					in.Done(nil)
				}
				mu.Unlock()
			}
		})
		l.feed(0, 10)
		l.until("it is halted", func() bool { s := m.State(); return len(s.Partitions) == 1 && s.Partitions[0].Halted != nil })
		mu.Lock()
		broken = false
		mu.Unlock()
		before := m.State().Membership.MemberID
		wantNil(t, m.Resume(topic, 0))
		l.untilCommitted(0, 10)
		if m.State().Membership.MemberID != before {
			t.Error("the membership was given up for it")
		}
		wantNil(t, m.stop())
	})
}

// Brokers that do not serve the consumer protocol are named at the start. Nobody is a classic
// member without knowing.
func TestBrokersWithoutTheConsumerProtocol(t *testing.T) {
	refusing := func(of func(*kmsg.ConsumerGroupHeartbeatRequest) bool) func(l *lab) {
		return func(l *lab) {
			l.cluster.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
				l.cluster.KeepControl()
				hb := req.(*kmsg.ConsumerGroupHeartbeatRequest)
				if !of(hb) {
					return nil, nil, false
				}
				resp := hb.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
				resp.ErrorCode = kerr.UnsupportedVersion.Code
				return resp, nil, true
			})
		}
	}
	for name, c := range map[string]struct {
		opts  []kfake.Opt
		setup func(l *lab)
		more  []kgo.Opt
		auto  bool // AutoProtocol finds out
		joins int
	}{
		"too old":            {opts: []kfake.Opt{kfake.MaxVersions(kversion.V3_7_0())}, auto: true},
		"left out":           {more: []kgo.Opt{kgo.MaxVersions(kversion.V3_7_0())}, auto: true},
		"switched off":       {setup: refusing(func(*kmsg.ConsumerGroupHeartbeatRequest) bool { return true }), auto: true},
		"only some are able": {setup: refusing(func(hb *kmsg.ConsumerGroupHeartbeatRequest) bool { return hb.MemberEpoch == 0 }), joins: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 1, func(t *testing.T, l *lab) {
				if c.setup != nil {
					c.setup(l)
				}
				joins := l.requests(kmsg.JoinGroup)
				cfg := l.epochs()
				cfg.Options = append(cfg.Options, c.more...)
				m := l.start(cfg, nil)
				defer time.AfterFunc(2*time.Minute, m.cancel).Stop() // one that joined silently runs on
				e := wantAs[*GroupError](t, m.wait())
				if !errors.Is(e, errNoConsumerProtocol) || !strings.Contains(e.Error(), "set Config.Protocol to ClassicProtocol") {
					t.Error(e)
				}
				time.Sleep(10 * time.Second)
				if n := joins(); n > 2*c.joins { // a member that is new joins in two requests
					t.Errorf("%d joins of a classic group", n)
				}
				if !c.auto {
					return
				}
				cfg.Protocol = AutoProtocol
				m = l.start(cfg, nil)
				l.feed(0, 10)
				l.untilCommitted(0, 10)
				if p := m.State().Membership.Protocol; p != ClassicProtocol {
					t.Errorf("joined in the %s protocol", p)
				}
				if !strings.Contains(l.logs.String(), "the group is joined in the classic protocol") {
					t.Error("nobody was told")
				}
				wantNil(t, m.stop())
			}, c.opts...)
		})
	}
}

func TestAutoGoesWithTheGroup(t *testing.T) {
	for name, c := range map[string]struct {
		first Protocol // of a member that is there before; 0: none
		opts  []kfake.Opt
		want  Protocol
	}{
		"empty":            {want: ConsumerProtocol},
		"classic":          {first: ClassicProtocol, want: ClassicProtocol},
		"consumer":         {first: ConsumerProtocol, want: ConsumerProtocol},
		"before Kafka 4.3": {opts: []kfake.Opt{kfake.MaxVersions(kversion.V4_2_0())}, want: ClassicProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 6, func(t *testing.T, l *lab) {
				cfg := l.config()
				var all []*member
				if c.first != 0 {
					cfg.Protocol = c.first
					all = append(all, l.start(cfg, nil))
					l.untilSpread(all...)
				}
				cfg.Protocol = AutoProtocol
				m := l.start(cfg, nil)
				all = append(all, m)
				l.untilSpread(all...)
				if got := m.State().Membership.Protocol; got != c.want {
					t.Errorf("joined in the %s protocol, want %s", got, c.want)
				}
				for _, m := range all {
					wantNil(t, m.stop())
				}
			}, c.opts...)
		})
	}
}

func TestTheBrokersBalancers(t *testing.T) {
	cfg := Config{Brokers: []string{"b:1"}, Group: "g", Topics: []string{"t"}, Protocol: ConsumerProtocol, AllowEager: true}
	for balancer, fine := range map[kgo.GroupBalancer]bool{
		kgo.CooperativeStickyBalancer(): true, kgo.RangeBalancer(): true, kgo.RoundRobinBalancer(): false,
	} {
		cfg.Options = []kgo.Opt{kgo.Balancers(balancer)}
		_, err := New(cfg)
		if fine != (err == nil) {
			t.Errorf("%s: %v", balancer.ProtocolName(), err)
		}
		if err != nil && wantAs[*ConfigError](t, err).Field != "Protocol" {
			t.Error(err)
		}
	}
}
