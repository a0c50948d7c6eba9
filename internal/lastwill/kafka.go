package lastwill

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// onKafka asks the coordinators of groups.
type onKafka struct {
	client *kgo.Client
	life   context.Context
	reason *string
}

// On is the coordinators of groups, asked through a client. Only the end of life ends the wait for
// what changes a group. The reason of a leave is for the broker's log.
func On(life context.Context, client *kgo.Client, reason string) Coordinator {
	return onKafka{client, life, &reason}
}

// Offsets implements Coordinator.
func (c onKafka) Offsets(ctx context.Context, group string, partitions []Partition) (Offsets, error) {
	have := Offsets{Topics: make(map[string]Topic), Committed: make(map[Partition]Committed)}
	topics := make(map[string]bool)
	for _, p := range partitions {
		topics[p.Topic] = true
	}
	adm := kadm.NewClient(c.client)
	details, err := adm.ListTopics(ctx, slices.Collect(maps.Keys(topics))...)
	if err != nil {
		return have, err
	}
	for _, t := range details {
		if gone := errors.Is(t.Err, kerr.UnknownTopicOrPartition); gone || t.Err == nil {
			have.Topics[t.Topic] = Topic{ID: t.ID, Gone: gone}
		}
	}
	all, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return have, err
	}
	for _, p := range partitions {
		o, known := all.Lookup(p.Topic, p.Index)
		switch {
		case !known:
		case o.Err != nil:
			return have, o.Err
		default:
			have.Committed[p] = Committed{Offset: o.At, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata}
		}
	}
	return have, nil
}

// Describe implements Coordinator.
func (c onKafka) Describe(ctx context.Context, group string) (Group, error) {
	groups, err := kadm.NewClient(c.client).DescribeGroups(ctx, group)
	if err != nil {
		return Group{}, err
	}
	g := groups[group]
	if len(g.Members) == 0 { // the classic request finds no member of a group of the consumer protocol
		found, err := c.describeEpochs(ctx, group)
		if _, refused := errors.AsType[*kerr.Error](err); !refused {
			return found, err
		}
	}
	if g.Err != nil {
		return Group{}, g.Err
	}
	found := Group{State: g.State}
	for _, m := range g.Members {
		member := Member{ID: m.MemberID, Given: make(map[string][]int32)}
		if given, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range given.Topics {
				member.Given[t.Topic] = append(member.Given[t.Topic], t.Partitions...)
			}
		}
		found.Members = append(found.Members, member)
	}
	return found, nil
}

// describeEpochs describes a group of the consumer protocol.
func (c onKafka) describeEpochs(ctx context.Context, group string) (Group, error) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{group}
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return Group{}, err
	}
	found := Group{Epochs: true}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return Group{}, err
		}
		found.State = g.State
		for _, m := range g.Members {
			member := Member{ID: m.MemberID, Epoch: m.MemberEpoch, Given: make(map[string][]int32), GivenIDs: make(map[[16]byte][]int32)}
			for _, t := range m.Assignment.TopicPartitions {
				member.Given[t.Topic] = t.Partitions
				member.GivenIDs[t.TopicID] = t.Partitions
			}
			found.Members = append(found.Members, member)
		}
	}
	return found, nil
}

// Commit implements Coordinator.
func (c onKafka) Commit(req *kmsg.OffsetCommitRequest) (*kmsg.OffsetCommitResponse, error) {
	return req.RequestWith(c.life, c.client)
}

// Leave implements Coordinator.
func (c onKafka) Leave(m groupcommit.Member) error {
	if m.Protocol == groupcommit.Consumer {
		return c.endMembership(m)
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = m.Group, m.MemberID
	of := kmsg.NewLeaveGroupRequestMember()
	of.MemberID, of.Reason = m.MemberID, c.reason
	req.Members = append(req.Members, of)
	resp, err := req.RequestWith(c.life, c.client)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(resp.ErrorCode)
	for _, m := range resp.Members {
		if err == nil {
			err = kerr.ErrorForCode(m.ErrorCode)
		}
	}
	return err
}

// leftForGood is what a member's last heartbeat says instead of its epoch. A static member's says
// leftForNow.
const leftForGood = -1

// endMembership sends the last heartbeat of a member of the consumer protocol.
func (c onKafka) endMembership(m groupcommit.Member) error {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = m.Group, m.MemberID, leftForGood
	if m.InstanceID != "" {
		req.InstanceID, req.MemberEpoch = &m.InstanceID, leftForNow
	}
	resp, err := req.RequestWith(c.life, c.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}
