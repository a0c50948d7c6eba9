package consumer

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// readCommitted fills in what the group has. What cannot be learned is in failed, and not in
// offsets any more. Partitions are asked for by name: an answer about all of the group leaves out
// what this principal may not see, or what a broker does not know yet, and that would look like a
// partition without an offset.
func (s *survey) readCommitted(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset, into map[topicPartition]found) (
	failed map[topicPartition]error,
) {
	failed = map[topicPartition]error{}
	topics, err := s.describe(ctx, offsets, true)
	if err != nil {
		fail(failed, offsets, err)
		return failed
	}
	for topic, ps := range offsets {
		have, err := s.fetchCommitted(ctx, cl, topic, topics[topic].id, ps)
		if err != nil {
			fail(failed, map[string]map[int32]kgo.Offset{topic: ps}, fmt.Errorf("reading what the group has committed: %w", err))
			delete(offsets, topic)
			continue
		}
		for id := range ps {
			tp := topicPartition{topic, id}
			delete(into, tp)
			f, ok := have[id]
			if !ok {
				f.err = errNoOffset
			}
			switch {
			case f.err != nil:
				failed[tp] = fmt.Errorf("reading what the group has committed: %w", f.err)
				delete(ps, id)
			case f.offset >= 0:
				ps[id] = kgo.NewOffset().At(f.offset)
				if into != nil {
					into[tp] = f
				}
			}
		}
	}
	return failed
}

// fetchCommitted asks for partitions of one topic.
func (s *survey) fetchCommitted(ctx context.Context, cl *kgo.Client, topic string, id [16]byte, ps map[int32]kgo.Offset) (map[int32]found, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true
	g, t := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	g.Group, t.Topic, t.TopicID = s.cfg.Group, topic, id
	for p := range ps {
		t.Partitions = append(t.Partitions, p)
	}
	g.Topics = append(g.Topics, t)
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	if id == ([16]byte{}) && resp.Version >= fetchedByID {
		return s.fetchCommittedOfAll(ctx, cl, topic)
	}
	have := map[int32]found{}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return nil, err
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				f := found{offset: p.Offset, epoch: p.LeaderEpoch, err: kerr.ErrorForCode(p.ErrorCode)}
				if p.Metadata != nil {
					f.metadata = *p.Metadata
				}
				have[p.Partition] = f
			}
		}
	}
	return have, nil
}

// fetchedByID is the first version of OffsetFetch that names topics by id alone.
const fetchedByID = 10

// fetchCommittedOfAll is for brokers that tell no topic ids and are asked by them all the same:
// such a request names none.
func (s *survey) fetchCommittedOfAll(ctx context.Context, cl *kgo.Client, topic string) (map[int32]found, error) {
	resp, err := kadm.NewClient(cl).FetchOffsetsForTopics(kadm.RequireStable(ctx), s.cfg.Group, topic)
	have := map[int32]found{}
	for _, o := range resp[topic] {
		have[o.Partition] = found{o.At, o.LeaderEpoch, o.Metadata, o.Err}
	}
	return have, err
}
