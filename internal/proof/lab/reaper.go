package lab

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
)

// reaper expires members as Kafka does where the embedded broker does not: a member whose
// connection ended while its join waited for the others is never expired there, because its session
// begins with the answer to the join, and that one could not be sent. Its partitions would be
// nobody's for ever, and if it is the leader all wait for its sync until the rebalance timeout.
// Nor is a static member of the consumer protocol that left for now and does not come back.
type reaper struct {
	l      *Lab
	group  string
	client *kgo.Client
	stop   chan struct{}
	done   chan struct{}

	mu   sync.Mutex
	seen map[string]seen // by member id
}

// static begins the key of a member that is known by its instance id only.
const static = "static member "

// joinTakesAtMost is when a broker has ended every join: the longest rebalance timeout and some.
// The embedded broker miscounts who has joined when a member expires while it waits in its sync,
// and then waits until no join has come for a rebalance timeout, which clients that try again do
// not let happen.
const joinTakesAtMost = consumer.DefaultRebalanceTimeout + 5*time.Second

// seen is a member's last request.
type seen struct {
	at         time.Time
	session    time.Duration // as it said when it joined
	join, sync bool          // it is one that may wait for others
	generation int32         // of the group then
	forNow     bool          // it was its last heartbeat, and its place is kept
}

func newReaper(j *job) *reaper {
	l := j.l
	r := &reaper{
		l: l, group: j.group, client: l.Client("reaper"), stop: make(chan struct{}), done: make(chan struct{}),
		seen: map[string]seen{},
	}
	l.Cluster.ControlKey(-1, func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.observe(req)
		return nil, nil, false
	})
	go r.run()
	return r
}

func (r *reaper) close() {
	close(r.stop)
	<-r.done
	r.client.Close()
}

func (r *reaper) observe(req kmsg.Request) {
	if !r.concerns(req) {
		return
	}
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		who := req.MemberID
		if who == "" && req.InstanceID != nil {
			who = static + *req.InstanceID // a static member gets its id in the answer, which it may not live to read
		}
		r.saw(who, seen{join: true, session: time.Duration(req.SessionTimeoutMillis) * time.Millisecond})
	case *kmsg.SyncGroupRequest:
		r.saw(req.MemberID, seen{sync: true})
	case *kmsg.HeartbeatRequest:
		r.saw(req.MemberID, seen{})
	case *kmsg.ConsumerGroupHeartbeatRequest:
		if req.MemberEpoch == leavesForNow {
			r.saw(req.MemberID, seen{session: r.l.session(), forNow: true})
		}
	case *kmsg.OffsetCommitRequest: // may come while a join waits
		r.mu.Lock()
		defer r.mu.Unlock()
		s := r.seen[req.MemberID]
		s.at = time.Now()
		r.seen[req.MemberID] = s
	}
}

// concerns tells whether a request is about the group.
func (r *reaper) concerns(req kmsg.Request) bool {
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		return req.Group == r.group
	case *kmsg.SyncGroupRequest:
		return req.Group == r.group
	case *kmsg.HeartbeatRequest:
		return req.Group == r.group
	case *kmsg.ConsumerGroupHeartbeatRequest:
		return req.Group == r.group
	case *kmsg.OffsetCommitRequest:
		return req.Group == r.group
	}
	return false
}

func (r *reaper) saw(member string, s seen) {
	s.at = time.Now()
	if g := r.l.Cluster.GroupInfo(r.group); g != nil {
		s.generation = g.Epoch
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.session == 0 {
		s.session = r.seen[member].session
	}
	r.seen[member] = s
}

func (r *reaper) run() {
	defer close(r.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	generation, joined := int32(-1), time.Now()
	idle := 0             // seconds in which nobody was given what is nobody's
	var waiting time.Time // since when a join has been going on; zero: none is
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		g := r.l.Cluster.GroupInfo(r.group)
		if g == nil {
			continue
		}
		if g.Epoch != generation {
			generation, joined, waiting = g.Epoch, time.Now(), time.Time{} // sessions begin when a join is over
		}
		idle = r.tended(g, idle)
		switch {
		case g.State != "PreparingRebalance":
			waiting = time.Time{}
		case waiting.IsZero():
			waiting = time.Now()
		case time.Since(waiting) > joinTakesAtMost:
			r.l.Note("the broker forgot to end a join after %v: all members are expelled", time.Since(waiting))
			for _, m := range g.Members {
				r.expire(m)
			}
			waiting = time.Time{}
		}
		for _, m := range g.Members {
			if r.silent(m, joined, g) {
				r.expire(m)
			}
		}
	}
}

// silent tells that a member should have been expired, and some time ago. One that waits for an
// answer to a join or sync is not silent.
func (r *reaper) silent(m kfake.GroupMember, begun time.Time, g *kfake.GroupInfo) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.last(m)
	if !ok || last.session == 0 || last.generation == g.Epoch && (last.join || last.sync && g.State == "CompletingRebalance") {
		return false
	}
	since := last.at
	if since.Before(begun) {
		since = begun
	}
	return time.Since(since) > last.session+time.Second
}

// last returns a member's last request. mu is held.
func (r *reaper) last(m kfake.GroupMember) (seen, bool) {
	s, ok := r.seen[m.MemberID]
	if !ok && m.InstanceID != nil {
		s, ok = r.seen[static+*m.InstanceID]
	}
	return s, ok
}

func (r *reaper) expire(m kfake.GroupMember) {
	r.mu.Lock()
	last, _ := r.last(m)
	r.mu.Unlock()
	r.l.Note("the broker forgot to expire %s, which it heard %v ago (%+v)", m.MemberID, time.Since(last.at), last)
	if last.forNow {
		r.expel(m)
		return
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = r.group
	leave := kmsg.NewLeaveGroupRequestMember()
	leave.MemberID, leave.InstanceID = m.MemberID, m.InstanceID
	req.Members = append(req.Members, leave)
	ctx, cancel := r.l.context()
	defer cancel()
	if _, err := req.RequestWith(ctx, r.client); err != nil {
		r.l.problem("expiring %s: %v", m.MemberID, err)
	}
}
