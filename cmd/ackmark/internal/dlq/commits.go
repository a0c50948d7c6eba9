package dlq

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commits reads what the group has committed for each partition. Offsets of a transaction that is
// still open are waited for if they have to be stable; else those before it count.
func (t *Topic) commits(ctx context.Context, stable bool) (commits map[int32]kadm.Offset, err error) {
	err = untilReady(ctx, func() error {
		commits, err = t.fetchCommits(ctx, stable)
		return err
	})
	return commits, err
}

// fetchCommits asks for the partitions by name. An answer about all of the group leaves out one
// whose only commit is in an open transaction, stable or not, and that would look like one without
// a commit: every letter would wait.
func (t *Topic) fetchCommits(ctx context.Context, stable bool) (map[int32]kadm.Offset, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = stable
	group, topic := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	group.Group, topic.Topic, topic.TopicID = t.Group, t.Name, t.id
	for i := range t.Partitions {
		topic.Partitions = append(topic.Partitions, int32(i))
	}
	group.Topics = append(group.Topics, topic)
	req.Groups = append(req.Groups, group)
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return nil, err
	}
	commits := map[int32]kadm.Offset{}
	for _, g := range resp.Groups {
		switch err := kerr.ErrorForCode(g.ErrorCode); {
		case errors.Is(err, kerr.GroupIDNotFound):
			return t.none(), nil
		case err != nil:
			return nil, err
		}
		for _, answered := range g.Topics {
			for _, p := range answered.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("partition %d: %w", p.Partition, err)
				}
				commit := kadm.Offset{At: p.Offset, LeaderEpoch: p.LeaderEpoch}
				if p.Metadata != nil {
					commit.Metadata = *p.Metadata
				}
				commits[p.Partition] = commit
			}
		}
	}
	if len(commits) != len(t.Partitions) {
		return nil, fmt.Errorf("the coordinator answered for %d of %d partitions", len(commits), len(t.Partitions))
	}
	return commits, nil
}

// none is what a group has that there is not.
func (t *Topic) none() map[int32]kadm.Offset {
	commits := map[int32]kadm.Offset{}
	for i := range t.Partitions {
		commits[int32(i)] = kadm.Offset{At: -1}
	}
	return commits
}
