package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/lag"
)

// lagPlace is a partition of a group.
type lagPlace struct {
	topic     string
	partition int32
}

// lagReading is a group at a moment.
type lagReading struct {
	state   string
	members int
	parts   map[lagPlace]lagPart
}

// lagPart is a partition at that moment, and who has it.
type lagPart struct {
	lag.Reading
	member string // client id and host; empty: nobody
}

// readLag asks about a group. Lags are kadm's.
func readLag(ctx context.Context, client *kgo.Client, group string, only []string) (*lagReading, error) {
	admin := kadm.NewClient(client)
	d, err := describeLag(ctx, admin, group)
	if err != nil {
		return nil, err
	}
	r := &lagReading{state: d.State, members: len(d.Members), parts: map[lagPlace]lagPart{}}
	if d.consumer != nil {
		r.members = len(d.consumer.Members)
	}
	ids := map[string]kadm.TopicID{}
	if topics, err := admin.ListTopics(ctx, slices.Collect(maps.Keys(d.Lag))...); err == nil && len(d.Lag) > 0 {
		for name, t := range topics {
			ids[name] = t.ID
		}
	}
	for _, m := range d.Lag.Sorted() {
		if len(only) > 0 && !slices.Contains(only, m.Topic) {
			continue
		}
		r.parts[lagPlace{m.Topic, m.Partition}] = lagPart{lagOf(m, ids[m.Topic], time.Now()), d.memberOf(m)}
	}
	return r, nil
}

// describedLag is a group of either protocol.
type describedLag struct {
	kadm.DescribedGroupLag
	consumer *kadm.DescribedConsumerGroup // of the newer protocol (KIP-848)
}

func describeLag(ctx context.Context, admin *kadm.Client, group string) (*describedLag, error) {
	lags, err := admin.Lag(ctx, group)
	if err != nil {
		return nil, lagError(group, err)
	}
	d := &describedLag{DescribedGroupLag: lags[group]}
	if err := d.FetchErr; err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, lagError(group, err)
	}
	if err := d.DescribeErr; err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, lagError(group, err)
	}
	if len(d.Members) > 0 {
		return d, nil
	}
	// It may be of the newer protocol, which brokers from 4.0 on have.
	described, err := admin.DescribeConsumerGroups(ctx, group)
	c, ok := described[group]
	if err != nil || !ok || c.Err != nil {
		return d, nil //nolint:nilerr // it is not: what there is of commits is in d
	}
	d.consumer, d.State = &c, c.State
	return d, d.newProtocol(ctx, admin, group)
}

// newProtocol lets kadm compute the lag of a group that its Lag does not describe.
func (d *describedLag) newProtocol(ctx context.Context, admin *kadm.Client, group string) error {
	commits, err := admin.FetchOffsets(ctx, group)
	if err != nil {
		return lagError(group, err)
	}
	if commits == nil {
		commits = kadm.OffsetResponses{}
	}
	for _, m := range d.consumer.Members {
		for _, topic := range slices.Concat(m.SubscribedTopics, m.Assignment.Topics()) { // a regex has no names
			if topic != "" && commits[topic] == nil {
				commits[topic] = map[int32]kadm.OffsetResponse{} // read, and never committed
			}
		}
	}
	topics := slices.Collect(maps.Keys(commits))
	if len(topics) == 0 {
		return nil
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil && len(starts) == 0 {
		return lagError(group, err)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil && len(ends) == 0 {
		return lagError(group, err)
	}
	d.Lag = kadm.CalculateGroupLagWithStartOffsets(kadm.DescribedGroup{Group: group}, commits, starts, ends)
	return nil
}

func (d *describedLag) memberOf(m kadm.GroupMemberLag) string {
	if m.Member != nil {
		return m.Member.ClientID + m.Member.ClientHost
	}
	if d.consumer != nil {
		for _, c := range d.consumer.Members {
			if c.Assignment.Lookup(m.Topic, m.Partition) {
				return c.ClientID + "/" + strings.TrimPrefix(c.ClientHost, "/")
			}
		}
	}
	return ""
}

// errNotAllowed is an error that asking again does not help.
var errNotAllowed = errors.New("allow Describe on the group and on the topics that it reads")

func lagError(group string, err error) error {
	_, auth := errors.AsType[*kadm.AuthError](err)
	if auth || errors.Is(err, kerr.GroupAuthorizationFailed) {
		return fmt.Errorf("group %q: %w; %w", group, err, errNotAllowed)
	}
	return fmt.Errorf("group %q: %w; try again when its coordinator answers", group, err)
}

// lagOf is a reading of a partition.
func lagOf(m kadm.GroupMemberLag, id kadm.TopicID, at time.Time) lag.Reading {
	r := lag.Reading{At: at, Start: m.Start.Offset, End: m.End.Offset, Committed: max(m.Commit.At, lag.None), Lag: m.Lag}
	switch {
	case errors.Is(m.Err, kerr.UnknownTopicOrPartition):
		r.Problem = "the topic or partition does not exist any more; its commit is what is left"
	case errors.Is(m.Err, kerr.LeaderNotAvailable), errors.Is(m.Err, kerr.NotLeaderForPartition), m.Err != nil && !isKafka(m.Err):
		r.Problem = "the partition has no leader, or it does not answer"
	case m.Err != nil:
		r.Problem = "cannot be read: " + m.Err.Error()
	case m.Start.Err != nil:
		r.Start = 0
	}
	runs, err := donemeta.Parse(m.Commit.Metadata, donemeta.Binding{TopicID: id, Base: m.Commit.At, LeaderEpoch: m.Commit.LeaderEpoch}, nil)
	if err == nil {
		for _, run := range runs {
			r.Above += run.Last - run.First + 1
		}
	}
	return r
}

// isKafka: else no broker answered at all.
func isKafka(err error) bool {
	_, ok := errors.AsType[*kerr.Error](err)
	return ok
}
