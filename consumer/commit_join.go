package consumer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sendInJoin commits while a join runs, which takes as long as the slowest member needs to join: after a crash, as long as the dead
// member's session. The client would hold the commit back until then, and everything done meanwhile would be repeated after another crash or
// a shutdown. The broker takes commits of the old generation while it waits for joins (PreparingRebalance), and what we hold stays ours until
// we have joined and let go of it. So the request goes out as it is, under the generation that the partitions are held in: one that comes too
// late is refused by the broker (ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS), and is made again from a fresh snapshot when the join is over.
//
// The caller holds commitMu, and the generation was read under it (S2, S3).
func (c *Consumer) sendInJoin(m Membership, points []point) error {
	req, byName := inJoinRequest(m, points)
	if req == nil {
		return errNotOurs
	}
	resp, err := req.RequestWith(context.Background(), c.client.Load())
	if err == nil {
		c.commitVersion.Store(int32(resp.Version))
		err = c.apply(req, resp, byName)
	}
	if kind(err) == kindFenced {
		return errNotOurs // the join itself finds out whether the member is known
	}
	return err
}

// inJoinRequest makes the request, or nil where a topic has no id: by name, a recreated topic would take the offsets of the deleted one (S11).
func inJoinRequest(m Membership, points []point) (*kmsg.OffsetCommitRequest, map[topicPartition]*point) {
	if m.Generation < 0 || m.MemberID == "" {
		return nil, nil
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = m.Group, m.MemberID, m.Generation
	if m.InstanceID != "" {
		req.InstanceID = &m.InstanceID
	}
	byName := map[topicPartition]*point{}
	topics := map[string]int{}
	for i := range points {
		pt := &points[i]
		a := pt.p.assignment
		if a.TopicID == ([16]byte{}) {
			return nil, nil
		}
		at, known := topics[a.Topic]
		if !known {
			at = len(req.Topics)
			topics[a.Topic] = at
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = a.Topic, a.TopicID
			req.Topics = append(req.Topics, t)
		}
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = a.Partition, pt.offset, pt.epoch, &pt.metadata
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, rp)
		byName[topicPartition{a.Topic, a.Partition}] = pt
	}
	return req, byName
}
