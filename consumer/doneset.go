package consumer

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// found is what the group has committed for a partition. All of it comes from one answer: the done-set of another offset would be a wrong one.
type found struct {
	offset   int64
	epoch    int32
	metadata string
	err      error // offset means nothing
}

// onFetched is called with the answer that holds the group's committed offsets, just before onOffsets gets the offsets alone.
func (c *Consumer) onFetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				f := found{offset: -1, err: kerr.ErrorForCode(p.ErrorCode)}
				if p.ErrorCode == 0 && p.Metadata != nil {
					f = found{offset: p.Offset, epoch: p.LeaderEpoch, metadata: *p.Metadata}
				}
				c.found[topicPartition{t.Topic, p.Partition}] = f
			}
		}
	}
	return nil
}

// inherits tells whether some committed metadata of these topics could be a done-set.
func (c *Consumer) inherits(offsets map[string]map[int32]kgo.Offset) bool {
	for tp, f := range c.found {
		if _, asked := offsets[tp.topic][tp.partition]; asked && donemeta.Ours(f.metadata) {
			return true
		}
	}
	return false
}

// inherit applies the done-set that belongs to the offset the stay begins from. One that does not is ignored: an operator who moves the
// group's offset means every input from there on to be done again (S11), and a topic that was created anew has other inputs under these offsets.
func (p *partition) inherit(f found) {
	a := p.assignment
	if f.offset != a.Start {
		return
	}
	var runs []donemeta.Run
	if a.TopicID != ([16]byte{}) {
		var err error
		runs, err = donemeta.Parse(f.metadata, donemeta.Binding{TopicID: a.TopicID, Base: f.offset, LeaderEpoch: f.epoch}, nil)
		if err != nil && !errors.Is(err, donemeta.ErrNotOurs) {
			p.c.log.Warn("a done-set was not applied: inputs above the committed offset that were done are handed out again",
				"topic", a.Topic, "partition", a.Partition, "offset", f.offset, "err", err)
		}
		if err != nil {
			runs = nil
		}
	}
	if len(runs) > 0 {
		a.DoneSet = f.metadata
	}
	p.core.Inherit(runs, f.metadata, f.epoch)
}

// refuseDoneSets stops writing done-sets: the brokers take less metadata than Kafka's default.
func (c *Consumer) refuseDoneSets() {
	if c.noDoneSets.Swap(true) {
		return
	}
	c.log.Error("the brokers refuse done-sets: inputs that finish out of order are done again after a hand-over; "+
		"set offset.metadata.max.bytes to its default on the brokers", "needed", donemeta.MaxText)
}
