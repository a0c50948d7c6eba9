package consumer

import (
	"context"
	"errors"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// handover is what a stay took over with the committed offset, and what it hands on with its own commits. Under the partition's lock.
type handover struct {
	done     donemeta.Inherited // inputs that are done already: they are not handed out
	skipped  int64              // those of them that were read
	epoch    int32              // leader epoch committed with the offset that the stay began from; -1: none
	set      string             // done-set that the group has
	finished int64              // inputs done in this stay when that was written
}

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
	p.handover.epoch = f.epoch
	if a.TopicID == ([16]byte{}) {
		return
	}
	runs, err := donemeta.Parse(f.metadata, donemeta.Binding{TopicID: a.TopicID, Base: f.offset, LeaderEpoch: f.epoch}, nil)
	if err != nil && !errors.Is(err, donemeta.ErrNotOurs) {
		p.c.log.Warn("a done-set was not applied: inputs above the committed offset that were done are handed out again",
			"topic", a.Topic, "partition", a.Partition, "offset", f.offset, "err", err)
	}
	if err != nil || len(runs) == 0 {
		return
	}
	a.DoneSet = f.metadata
	p.handover.set = f.metadata
	p.handover.done = donemeta.Inherit(runs)
}

// scratch is where done-sets are written.
type scratch struct {
	runs []donemeta.Run
	text []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// doneSet is what a commit of this mark says about the inputs above it, under mu.
func (p *partition) doneSet(mark int64, epoch int32) string {
	p.handover.done.Forget(mark)
	if p.tracker.DoneAbove() == 0 && p.handover.done.Len() == 0 || p.c.noDoneSets.Load() || p.assignment.TopicID == ([16]byte{}) {
		return ""
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.runs = p.handover.done.Union(p.tracker, mark, s.runs[:0])
	var kept int
	s.text, kept = donemeta.Append(s.text[:0], donemeta.Binding{TopicID: p.assignment.TopicID, Base: mark, LeaderEpoch: epoch}, s.runs)
	if kept < len(s.runs) { // cannot be: nothing is handed out that does not fit
		p.c.log.Error("a done-set did not fit: a part of what it says is done again after a hand-over; this is a bug in Ackmark",
			"topic", p.assignment.Topic, "partition", p.assignment.Partition, "runs", len(s.runs), "kept", kept)
	}
	if string(s.text) == p.handover.set {
		return p.handover.set
	}
	return string(s.text)
}

// due makes what to commit now, or false: the mark moved, or what is done above it did. Never back (S3). Under mu.
func (p *partition) due() (groupcommit.Point, bool) {
	offset, epoch := p.mark()
	moved := offset > p.committed
	if p.fenced || p.uncommit || !moved && (offset < p.committed || p.finished == p.handover.finished) {
		return groupcommit.Point{}, false
	}
	a := p.assignment
	pt := groupcommit.Point{Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, Offset: offset, LeaderEpoch: epoch, Metadata: p.doneSet(offset, epoch)}
	if !moved && pt.Metadata == p.handover.set {
		p.handover.finished = p.finished
		return groupcommit.Point{}, false
	}
	return pt, true
}

// refuseDoneSets stops writing done-sets: the brokers take less metadata than Kafka's default.
func (c *Consumer) refuseDoneSets() {
	if c.noDoneSets.Swap(true) {
		return
	}
	c.log.Error("the brokers refuse done-sets: inputs that finish out of order are done again after a hand-over; "+
		"set offset.metadata.max.bytes to its default on the brokers", "needed", donemeta.MaxText)
}
