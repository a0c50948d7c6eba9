package lab

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reaper expires members as Kafka does where the embedded broker does not: a member whose connection ended while its join waited for the others
// is never expired there, because its session begins with the answer to the join, and that one could not be sent. Its partitions would
// be nobody's for ever.
type reaper struct {
	l      *Lab
	client *kgo.Client
	stop   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	heard   map[string]time.Time     // by member id: its last request
	session map[string]time.Duration // by member id, as it said when it joined
}

func newReaper(l *Lab) *reaper {
	r := &reaper{
		l: l, client: l.Client("reaper"), stop: make(chan struct{}), done: make(chan struct{}),
		heard: map[string]time.Time{}, session: map[string]time.Duration{},
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
	r.mu.Lock()
	defer r.mu.Unlock()
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		r.heard[req.MemberID] = time.Now()
		r.session[req.MemberID] = time.Duration(req.SessionTimeoutMillis) * time.Millisecond
	case *kmsg.SyncGroupRequest:
		r.heard[req.MemberID] = time.Now()
	case *kmsg.HeartbeatRequest:
		r.heard[req.MemberID] = time.Now()
	case *kmsg.OffsetCommitRequest:
		r.heard[req.MemberID] = time.Now()
	}
}

func (r *reaper) run() {
	defer close(r.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	generation, stable := int32(-1), time.Now()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		g := r.l.Cluster.GroupInfo(Group)
		if g == nil || g.State != "Stable" {
			continue
		}
		if g.Epoch != generation {
			generation, stable = g.Epoch, time.Now() // sessions begin when a join is over
		}
		for _, m := range g.Members {
			if r.silent(m.MemberID, stable) {
				r.expire(m.MemberID)
			}
		}
	}
}

// silent tells that a member should have been expired, and some time ago.
func (r *reaper) silent(member string, stable time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.heard[member]
	if since.Before(stable) {
		since = stable
	}
	session, joined := r.session[member]
	return joined && time.Since(since) > session+time.Second
}

func (r *reaper) expire(member string) {
	r.l.Note("the broker forgot to expire %s", member)
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = Group
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = member
	req.Members = append(req.Members, m)
	ctx, cancel := r.l.context()
	defer cancel()
	if _, err := req.RequestWith(ctx, r.client); err != nil {
		r.l.problem("expiring %s: %v", member, err)
	}
}
