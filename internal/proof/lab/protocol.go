package lab

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
)

// Epochs that a member's last heartbeat has instead of its own.
const (
	leavesForGood = -1
	leavesForNow  = -2
)

const sessionConfig = "consumer.session.timeout.ms"

// shareSession tells the brokers how long the group's sessions last: in the consumer protocol they
// decide that. All apps of a lab have the same.
func (l *Lab) shareSession(session time.Duration) {
	if l.cfg.Protocol != consumer.ConsumerProtocol {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shared = session
	for _, j := range l.jobs {
		l.Cluster.SetGroupConfigs(j.group, map[string]string{sessionConfig: strconv.FormatInt(session.Milliseconds(), 10)})
	}
}

func (l *Lab) session() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shared
}

// tended makes the embedded broker share partitions out that it has forgotten. Where a member of
// the consumer protocol leaves and only static ones that left for now are there, it makes no new
// assignment, and when one of those comes back it makes none either. Whoever joins ends that.
func (r *reaper) tended(g *kfake.GroupInfo, idle int) int {
	const seconds = 3
	if r.l.cfg.Protocol != consumer.ConsumerProtocol || g.State != "Stable" || r.l.assigned(g) >= len(r.l.Cluster.PartitionInfos(In)) {
		return 0
	}
	if idle < seconds {
		return idle + 1
	}
	r.l.Note("the broker forgot to share partitions out")
	ctx, cancel := r.l.context()
	defer cancel()
	for _, epoch := range []int32{0, leavesForGood} {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = r.group, "who reminds it", epoch, 1000
		req.SubscribedTopicNames, req.Topics = []string{Out}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if _, err := req.RequestWith(ctx, r.client); err != nil {
			r.l.problem("reminding the broker: %v", err)
		}
	}
	return 0
}

func (l *Lab) assigned(g *kfake.GroupInfo) (n int) {
	for _, m := range g.Members {
		n += len(m.Assignment[In])
	}
	return n
}

// expel ends the kept place of a static member.
func (r *reaper) expel(m kfake.GroupMember) {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID, req.MemberEpoch = r.group, m.MemberID, m.InstanceID, leavesForGood
	ctx, cancel := r.l.context()
	defer cancel()
	if _, err := req.RequestWith(ctx, r.client); err != nil {
		r.l.problem("expelling %s: %v", m.MemberID, err)
	}
}

// willMark is a rebalance time-out, which says nothing in a last heartbeat. There is no reason in
// it that could tell who wrote it, as there is in a LeaveGroup.
const willMark = 7_654_321

// beatByWill tells whether a sidecar wrote a member's last heartbeat.
func beatByWill(req *kmsg.ConsumerGroupHeartbeatRequest) bool {
	return req.RebalanceTimeoutMillis == willMark
}

// markBeats marks the last heartbeats that go over the connections of a sidecar.
func (l *Lab) markBeats(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &beatsConn{c, l}, nil
	}
}

type beatsConn struct {
	net.Conn
	l *Lab
}

// Write implements net.Conn. The client writes one request at a time: its length, key, version,
// correlation id, client id and tags, and then what it asks for.
func (c *beatsConn) Write(b []byte) (int, error) {
	const length, key = 4, 2
	if len(b) > length+key && binary.BigEndian.Uint16(b[length:]) == uint16(kmsg.ConsumerGroupHeartbeat) {
		r := kbin.Reader{Src: b[length+key:]}
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version = r.Int16()
		_, _ = r.Int32(), r.NullableString()
		kmsg.SkipTags(&r)
		if err := req.ReadFrom(r.Src); err != nil {
			c.l.problem("a heartbeat that cannot be read: %v", err)
		} else if req.MemberEpoch < 0 {
			req.RebalanceTimeoutMillis = willMark
			b = req.AppendTo(slices.Clone(b[:len(b)-len(r.Src)])) // as long as before
		}
	}
	return c.Conn.Write(b)
}
