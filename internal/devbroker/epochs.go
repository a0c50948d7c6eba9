package devbroker

import (
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ValidateEpochs makes the cluster refuse commits of a group of the consumer protocol as Kafka 4.3
// does, and fences static members that left for now and beat on. Where the epoch of a commit is
// older than its member's, every partition has to be the member's, or the whole request is refused
// (STALE_MEMBER_EPOCH); kfake takes what is not. refused, if it is not nil, is told of each such
// commit, from the cluster's goroutine.
func ValidateEpochs(c *kfake.Cluster, refused func(*kmsg.OffsetCommitRequest)) {
	v := &epochs{cluster: c, members: make(map[string]*epochMember), away: make(map[string]bool)}
	c.ControlKey(-1, func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.settle()
		if req, ok := kreq.(*kmsg.ConsumerGroupHeartbeatRequest); ok {
			v.heartbeat(req)
		}
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req, ok := kreq.(*kmsg.ConsumerGroupHeartbeatRequest)
		if !ok {
			return nil, nil, false
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if !v.isAway(req) {
			return nil, nil, false
		}
		v.beat = nil // it does nothing
		resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
		resp.ErrorCode = kerr.FencedMemberEpoch.Code
		return resp, nil, true
	})
	c.ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req, ok := kreq.(*kmsg.OffsetCommitRequest)
		if !ok {
			return nil, nil, false
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.settle()
		if !v.stale(req) {
			return nil, nil, false
		}
		if refused != nil {
			refused(req)
		}
		return refuseCommit(req, kerr.StaleMemberEpoch), nil, true
	})
}

// epochs follows the epochs of members, which kfake tells nobody but them: what a member has, and
// says that it has, decides.
type epochs struct {
	cluster *kfake.Cluster

	mu      sync.Mutex
	members map[string]*epochMember
	away    map[string]bool                     // static members that left for now
	beat    *kmsg.ConsumerGroupHeartbeatRequest // the last request, if it was one
	group   int32                               // its group's epoch before it
}

type epochMember struct {
	epoch    int32
	given    []epochPartition
	revoking []epochPartition // taken from it, and not acknowledged
}

type epochPartition struct {
	topic     string
	partition int32
}

// isAway tells that a static member left for now and beats on as if it had not: Kafka fences it
// (its epoch is -2 there), kfake takes it back.
func (v *epochs) isAway(req *kmsg.ConsumerGroupHeartbeatRequest) bool {
	switch {
	case req.MemberEpoch == -2 && req.InstanceID != nil:
		v.away[req.MemberID] = true
	case req.MemberEpoch <= 0:
		delete(v.away, req.MemberID)
	}
	return req.MemberEpoch > 0 && v.away[req.MemberID]
}

func (v *epochs) heartbeat(req *kmsg.ConsumerGroupHeartbeatRequest) {
	v.beat, v.group = req, 0
	if g := v.cluster.GroupInfo(req.Group); g != nil {
		v.group = g.Epoch
	}
}

// settle finds out what the last heartbeat did. A member that has acknowledged all that was taken
// from it is in the group's epoch, any other one stays in its own.
func (v *epochs) settle() {
	req := v.beat
	if v.beat = nil; req == nil {
		return
	}
	g := v.cluster.GroupInfo(req.Group)
	i := -1
	if g != nil {
		i = slices.IndexFunc(g.Members, func(m kfake.GroupMember) bool { return m.MemberID == req.MemberID })
	}
	if i < 0 {
		delete(v.members, req.MemberID)
		return
	}
	m := v.members[req.MemberID]
	if m == nil {
		m = new(epochMember)
		v.members[req.MemberID] = m
	}
	now := assigned(&g.Members[i])
	for _, p := range m.given {
		if !slices.Contains(now, p) && !slices.Contains(m.revoking, p) {
			m.revoking = append(m.revoking, p)
		}
	}
	if req.Topics != nil { // a heartbeat that names none acknowledges none
		m.revoking = slices.DeleteFunc(m.revoking, func(p epochPartition) bool { return !v.names(req, p) })
	}
	switch m.given = now; {
	case req.MemberEpoch < 0: // it leaves
	case req.MemberEpoch == 0:
		m.epoch = g.Epoch // to join makes it a new one
	case len(m.revoking) == 0:
		m.epoch = v.group
	}
}

func (v *epochs) names(req *kmsg.ConsumerGroupHeartbeatRequest, p epochPartition) bool {
	info := v.cluster.TopicInfo(p.topic)
	return info != nil && slices.ContainsFunc(req.Topics, func(t kmsg.ConsumerGroupHeartbeatRequestTopic) bool {
		return t.TopicID == info.TopicID && slices.Contains(t.Partitions, p.partition)
	})
}

func assigned(m *kfake.GroupMember) (all []epochPartition) {
	for topic, ps := range m.Assignment {
		for _, p := range ps {
			all = append(all, epochPartition{topic, p})
		}
	}
	return all
}

// stale tells what kfake does not see.
func (v *epochs) stale(req *kmsg.OffsetCommitRequest) bool {
	m := v.members[req.MemberID]
	if m == nil || req.Generation < 0 || req.Generation >= m.epoch {
		return false
	}
	for _, t := range req.Topics {
		topic := t.Topic
		if info := v.cluster.TopicIDInfo(t.TopicID); topic == "" && info != nil {
			topic = info.Topic
		}
		for _, p := range t.Partitions {
			if at := (epochPartition{topic, p.Partition}); !slices.Contains(m.given, at) && !slices.Contains(m.revoking, at) {
				return true
			}
		}
	}
	return false
}

func refuseCommit(req *kmsg.OffsetCommitRequest, err *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, err.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
