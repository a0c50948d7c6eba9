package brokers

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/lastwill"
)

// coordinator asks the coordinators of groups through the sidecar's Kafka client.
type coordinator struct {
	client *kgo.Client
	life   context.Context // the sidecar's: only its end ends the wait for what changes a group
}

var _ lastwill.Coordinator = coordinator{}

// Coordinator asks until its life ends.
func (b *Brokers) Coordinator(life context.Context) lastwill.Coordinator {
	return coordinator{b.client, life}
}

// Offsets implements lastwill.Coordinator.
func (c coordinator) Offsets(ctx context.Context, group string, partitions []lastwill.Partition) (lastwill.Offsets, error) {
	have := lastwill.Offsets{Topics: make(map[string]lastwill.Topic), Committed: make(map[lastwill.Partition]lastwill.Committed)}
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
			have.Topics[t.Topic] = lastwill.Topic{ID: t.ID, Gone: gone}
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
			have.Committed[p] = lastwill.Committed{Offset: o.At, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata}
		}
	}
	return have, nil
}

// Describe implements lastwill.Coordinator.
func (c coordinator) Describe(ctx context.Context, group string) (lastwill.Group, error) {
	groups, err := kadm.NewClient(c.client).DescribeGroups(ctx, group)
	if err != nil {
		return lastwill.Group{}, err
	}
	g := groups[group]
	if g.Err != nil {
		return lastwill.Group{}, g.Err
	}
	found := lastwill.Group{State: g.State}
	for _, m := range g.Members {
		member := lastwill.Member{ID: m.MemberID, Given: make(map[string][]int32)}
		if given, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range given.Topics {
				member.Given[t.Topic] = append(member.Given[t.Topic], t.Partitions...)
			}
		}
		found.Members = append(found.Members, member)
	}
	return found, nil
}

// Commit implements lastwill.Coordinator.
func (c coordinator) Commit(req *kmsg.OffsetCommitRequest) (*kmsg.OffsetCommitResponse, error) {
	return req.RequestWith(c.life, c.client)
}

// Leave implements lastwill.Coordinator.
func (c coordinator) Leave(group, member string) error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = group, member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = member
	m.Reason = kmsg.StringPtr("ackmark: the sidecar executed this process's will")
	req.Members = append(req.Members, m)
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
