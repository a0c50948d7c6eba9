package consumer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicInfo is what the metadata says about a topic.
type topicInfo struct {
	id     [16]byte
	epochs map[int32]int32 // leader epoch by partition
}

func (t topicInfo) epoch(partition int32) int32 {
	if e, ok := t.epochs[partition]; ok {
		return e
	}
	return -1
}

// describe looks the assigned topics up in the client's metadata cache. Where it fails, ids stay zero and epochs -1. A done-set must not be
// compared with the id of a topic that was deleted since: then the brokers are asked, and must answer.
func (c *Consumer) describe(ctx context.Context, offsets map[string]map[int32]kgo.Offset, fresh bool) (map[string]topicInfo, error) {
	req := kmsg.NewPtrMetadataRequest()
	for topic := range offsets {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &topic
		req.Topics = append(req.Topics, t)
	}
	infos := map[string]topicInfo{}
	if len(req.Topics) == 0 {
		return infos, nil
	}
	cl := c.client.Load()
	ask := func() (*kmsg.MetadataResponse, error) { return cl.RequestCachedMetadata(ctx, req, 0) }
	if fresh {
		ask = func() (*kmsg.MetadataResponse, error) { return req.RequestWith(ctx, cl) }
	}
	resp, err := ask()
	switch {
	case err != nil && fresh:
		return nil, fmt.Errorf("reading the topics' ids: %w", err)
	case err != nil:
		c.log.Warn("reading the topics' ids failed", "err", err)
		return infos, nil
	}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		info := topicInfo{id: t.TopicID, epochs: map[int32]int32{}}
		for _, p := range t.Partitions {
			info.epochs[p.Partition] = p.LeaderEpoch
		}
		infos[*t.Topic] = info
	}
	return infos, nil
}

// startOffsets gives every partition an exact offset: the committed one, or where Config.Start points.
func (c *Consumer) startOffsets(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	starts := map[string]map[int32]kgo.Offset{}
	missing := map[Position]map[string][]int32{}
	for topic, ps := range offsets {
		starts[topic] = maps.Clone(ps)
		for id, o := range ps {
			if o.EpochOffset().Offset >= 0 {
				continue
			}
			where := c.startOf(topic, id)
			if missing[where] == nil {
				missing[where] = map[string][]int32{}
			}
			missing[where][topic] = append(missing[where][topic], id)
		}
	}
	for where, names := range missing {
		listed, err := list(ctx, cl, where, names)
		if err != nil {
			return nil, err
		}
		for topic, ids := range names {
			for _, id := range ids {
				o, ok := listed.Lookup(topic, id)
				if !ok {
					return nil, fmt.Errorf("the broker did not say where %s partition %d is %s", topic, id, where)
				}
				if o.Err != nil {
					return nil, fmt.Errorf("finding where %s partition %d is %s: %w", topic, id, where, o.Err)
				}
				starts[topic][id] = kgo.NewOffset().At(o.Offset)
			}
		}
	}
	return starts, nil
}

// startOf is Config.Start, except for a partition or a topic that was added after this consumer joined: all of its records are new, so none of
// them may be skipped by Latest (fault 19).
func (c *Consumer) startOf(topic string, partition int32) Position {
	if c.cfg.Start == Latest && c.topics != nil && int(partition) >= c.topics[topic] {
		return Earliest
	}
	return c.cfg.Start
}

// takeInventory notes, once, how many partitions there are at the first join. hookMu is held.
func (c *Consumer) takeInventory(ctx context.Context, cl *kgo.Client) {
	if c.cfg.Start != Latest || c.topics != nil {
		return
	}
	req := kmsg.NewPtrMetadataRequest() // with a regular expression: of all topics
	for _, topic := range c.cfg.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		c.log.Warn("counting the partitions failed; partitions added before the next rebalance begin at their end", "err", err)
		return
	}
	c.topics = map[string]int{}
	for _, t := range resp.Topics {
		if t.Topic != nil {
			c.topics[*t.Topic] = len(t.Partitions)
		}
	}
}

func list(ctx context.Context, cl *kgo.Client, where Position, names map[string][]int32) (kadm.ListedOffsets, error) {
	topics := slices.Collect(maps.Keys(names))
	adm := kadm.NewClient(cl)
	switch where {
	case Earliest:
		return adm.ListStartOffsets(ctx, topics...)
	case Latest:
		return adm.ListEndOffsets(ctx, topics...)
	}
	return adm.ListOffsetsAfterMilli(ctx, int64(where), topics...)
}

// logStart asks where a partition's log starts now, -1 if that cannot be learned soon: the poll loop waits for it.
func (c *Consumer) logStart(topic string, partition int32) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	starts, err := kadm.NewClient(c.client.Load()).ListStartOffsets(ctx, topic)
	if o, ok := starts.Lookup(topic, partition); err == nil && ok && o.Err == nil {
		return o.Offset
	}
	c.log.Warn("finding where the log starts failed", "topic", topic, "partition", partition, "err", err)
	return -1
}
