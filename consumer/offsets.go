package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// survey asks the brokers where partitions begin, and what the group has committed.
type survey struct {
	cfg     *Config
	log     *slog.Logger
	brokers *brokers
	stock   inventory // what was there when this member joined, with Latest
}

// topicInfo is what the metadata says about a topic.
type topicInfo struct {
	id           [16]byte
	leaderEpochs map[int32]int32 // leader epoch by partition
	broken       map[int32]error // partitions that cannot be read now: they have no leader
}

func (t topicInfo) epoch(partition int32) int32 {
	if e, ok := t.leaderEpochs[partition]; ok {
		return e
	}
	return -1
}

// describe looks the assigned topics up in the client's metadata cache. Where it fails, ids stay
// zero and epochs -1. A done-set must not be compared with the id of a topic that was deleted
// since: then the brokers are asked, and must answer.
func (s *survey) describe(ctx context.Context, offsets map[string]map[int32]kgo.Offset, fresh bool) (map[string]topicInfo, error) {
	req := metadataOf(maps.Keys(offsets))
	infos := map[string]topicInfo{}
	if len(req.Topics) == 0 {
		return infos, nil
	}
	cl := s.brokers.client.Load()
	ask := func() (*kmsg.MetadataResponse, error) { return cl.RequestCachedMetadata(ctx, req, 0) }
	if fresh {
		ask = func() (*kmsg.MetadataResponse, error) { return req.RequestWith(ctx, cl) }
	}
	resp, err := ask()
	switch {
	case err != nil && fresh:
		return nil, fmt.Errorf("reading the topics' ids: %w", err)
	case err != nil:
		s.log.Warn("reading the topics' ids failed", "err", err)
		return infos, nil
	}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		info := topicInfo{id: t.TopicID, leaderEpochs: map[int32]int32{}, broken: map[int32]error{}}
		for _, p := range t.Partitions {
			info.leaderEpochs[p.Partition] = p.LeaderEpoch
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil || p.Leader < 0 {
				info.broken[p.Partition] = cmp.Or(err, error(kerr.LeaderNotAvailable))
			}
		}
		infos[*t.Topic] = info
	}
	return infos, nil
}

// startOffsets gives every partition an exact offset: the committed one, or where Config.Start
// points. Those for which that could not be learned are in failed: they wait, the others do not.
func (s *survey) startOffsets(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset, topics map[string]topicInfo) (
	starts map[string]map[int32]kgo.Offset, failed map[topicPartition]error,
) {
	starts, failed = map[string]map[int32]kgo.Offset{}, map[topicPartition]error{}
	missing := map[Start]map[string][]int32{}
	for topic, ps := range offsets {
		starts[topic] = map[int32]kgo.Offset{}
		for id, o := range ps {
			if s.cfg.CommitElsewhere && topics[topic].id == ([16]byte{}) {
				failed[topicPartition{topic, id}] = errNoTopicID
				continue
			}
			if o.EpochOffset().Offset >= 0 {
				starts[topic][id] = o
				continue
			}
			if err := topics[topic].broken[id]; err != nil {
				failed[topicPartition{topic, id}] = err
				continue
			}
			where := s.startOf(topic, id)
			if missing[where] == nil {
				missing[where] = map[string][]int32{}
			}
			missing[where][topic] = append(missing[where][topic], id)
		}
	}
	for where, names := range missing {
		for tp, l := range s.list(ctx, cl, where, names) {
			if l.err != nil {
				failed[tp] = fmt.Errorf("finding where %s partition %d is %s: %w", tp.topic, tp.partition, where, l.err)
				continue
			}
			starts[tp.topic][tp.partition] = kgo.NewOffset().At(l.offset)
		}
	}
	return starts, failed
}

// errNoTopicID: who commits elsewhere could keep nothing of what is done above the ack mark.
var errNoTopicID = errors.New("the brokers did not say the topic's id")

// startOf is Config.Start, except that Latest is for topics that are new to the group: a partition
// that was added while this consumer runs (fault 19), or while nobody read, to a topic that the
// group has committed before, has only new records, and none of them may be skipped (S11).
func (s *survey) startOf(topic string, partition int32) Start {
	if s.cfg.Start != Latest {
		return s.cfg.Start
	}
	topics := s.stock.topics.Load()
	if s.stock.known[topic] || topics != nil && int(partition) >= (*topics)[topic] {
		return Earliest
	}
	return Latest
}

// inventory is what Latest needs to know: whatever came later than it is new, and is read from its
// first offset.
type inventory struct {
	known  map[string]bool                // topics that the group had committed before this member joined; set before it does
	topics atomic.Pointer[map[string]int] // partitions of each topic at the first join; nil before
}

// askKnown notes which topics the group has committed, with Latest. It must be asked before this
// member joins: the members of a group that starts anew divide a topic among them, and whoever
// commits its start first would make the others believe that the group knows the topic.
func (s *survey) askKnown(ctx context.Context) error {
	if s.cfg.Start != Latest {
		return nil
	}
	cl, err := s.brokers.asking()
	if err != nil {
		return err
	}
	defer cl.Close()
	return s.brokers.awaitStart(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		all, err := kadm.NewClient(cl).FetchOffsets(ctx, s.cfg.Group)
		switch {
		case groupcommit.Judge(err) == groupcommit.Forbidden:
			return s.cfg.groupError(err)
		case errors.Is(err, kerr.GroupIDNotFound): // it is new
		case err != nil:
			return s.brokers.unreachable(err)
		}
		s.stock.known = map[string]bool{}
		all.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil && o.At >= 0 {
				s.stock.known[o.Topic] = true
			}
		})
		return nil
	})
}

// takeInventory notes, once, how many partitions there are at the first join. hookMu is held.
func (s *survey) takeInventory(ctx context.Context, cl *kgo.Client) {
	if s.cfg.Start != Latest || s.stock.topics.Load() != nil {
		return
	}
	req := metadataOf(slices.Values(s.cfg.Topics)) // with a regular expression: of all topics
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		s.log.Warn("counting the partitions failed; partitions added before the next rebalance begin at their end", "err", err)
		return
	}
	topics := map[string]int{}
	for _, t := range resp.Topics {
		if t.Topic != nil {
			topics[*t.Topic] = len(t.Partitions)
		}
	}
	s.stock.topics.Store(&topics)
}

// Timestamps that ask for an end of a log.
const (
	atStart = -2
	atEnd   = -1
)

// listTimeout bounds one look: a leader that does not answer holds up its own partitions only.
const listTimeout = 5 * time.Second

// listed is where a partition's log has a position.
type listed struct {
	offset int64
	err    error
}

// list finds a position. A consumer of committed records finds the last stable offset as the end:
// what an open transaction wrote before is not visible yet, so it would never be read from an end
// behind it. By time, the end is asked for first: a record that comes between the two answers must
// not lie below where nothing was found.
func (s *survey) list(ctx context.Context, cl *kgo.Client, where Start, names map[string][]int32) map[topicPartition]listed {
	switch where {
	case Earliest:
		return s.listAt(ctx, cl, atStart, names)
	case Latest:
		return s.listAt(ctx, cl, atEnd, names)
	}
	ends := s.listAt(ctx, cl, atEnd, names)
	all := s.listAt(ctx, cl, int64(where), names)
	for tp, l := range all {
		if l.err == nil && l.offset < 0 {
			all[tp] = ends[tp]
		}
	}
	return all
}

func (s *survey) listAt(ctx context.Context, cl *kgo.Client, timestamp int64, names map[string][]int32) map[topicPartition]listed {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	if s.cfg.ReadCommitted {
		req.IsolationLevel = 1
	}
	all := map[topicPartition]listed{}
	for topic, ids := range names {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, id := range ids {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = id, timestamp, -1
			t.Partitions = append(t.Partitions, p)
			all[topicPartition{topic, id}] = listed{-1, errNoAnswer}
		}
		req.Topics = append(req.Topics, t)
	}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			for _, t := range shard.Req.(*kmsg.ListOffsetsRequest).Topics {
				for _, p := range t.Partitions {
					all[topicPartition{t.Topic, p.Partition}] = listed{-1, shard.Err}
				}
			}
			continue
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				tp := topicPartition{t.Topic, p.Partition}
				if _, asked := all[tp]; asked {
					all[tp] = listed{p.Offset, kerr.ErrorForCode(p.ErrorCode)}
				}
			}
		}
	}
	if timestamp < 0 { // there is always an end
		for tp, l := range all {
			if l.err == nil && l.offset < 0 {
				all[tp] = listed{-1, errNoAnswer}
			}
		}
	}
	return all
}

var errNoAnswer = errors.New("the broker did not say where it is")

// logStart asks where a partition's log starts now, -1 if that cannot be learned soon: the poll
// loop waits for it.
func (s *survey) logStart(topic string, partition int32) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	starts, err := kadm.NewClient(s.brokers.client.Load()).ListStartOffsets(ctx, topic)
	if o, ok := starts.Lookup(topic, partition); err == nil && ok && o.Err == nil {
		return o.Offset
	}
	s.log.Warn("finding where the log starts failed", "topic", topic, "partition", partition, "err", err)
	return -1
}
