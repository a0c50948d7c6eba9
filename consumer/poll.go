package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// slowDeliver is when a deliver that blocks is worth a warning: rebalances and all partitions wait for it.
const slowDeliver = time.Second

// poll hands out what the client fetched, until ctx ends. Between a poll and AllowRebalance no callback runs, so the partitions that the
// records belong to are the ones held when they were fetched: without that, records of a stay that ended could be entered
// in the next one, which started elsewhere. Nothing waits in between.
func (c *Consumer) poll(ctx context.Context, cl *kgo.Client, deliver func(*Batch)) {
	for ctx.Err() == nil {
		fetches := c.pollOnce(ctx, cl)
		if fetches.IsClientClosed() {
			cl.AllowRebalance()
			c.stop(kgo.ErrClientClosed)
			return
		}
		c.unparkAll(c.now(), deliver) // before what comes behind it
		c.take(ctx, fetches, deliver)
		cl.AllowRebalance()
		c.awaitRoom(ctx)
		c.awaitDeflation(ctx, cl)
		c.balanceFlow()
	}
}

// pollLimit keeps what polls can add above the budget to about an eighth of it, by the size of records seen lately.
func (c *Consumer) pollLimit() int {
	room := c.pollRoom()
	records := min(max(int(room*float64(c.cfg.MaxRecords)), 1), c.maxPoll)
	if c.meanSize == 0 {
		return min(records, 512)
	}
	return int(min(max(int64(room*float64(c.cfg.MaxBytes))/c.meanSize, 1), int64(records)))
}

// sawSize follows the mean size of records: upwards at once, downwards slowly.
func (c *Consumer) sawSize(r *run) {
	mean := r.bytes/int64(len(r.Messages)) + 1
	if mean < c.meanSize {
		mean = (15*c.meanSize + mean) / 16
	}
	c.meanSize = mean
}

func (c *Consumer) take(ctx context.Context, fetches kgo.Fetches, deliver func(*Batch)) {
	now := c.now()
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				if ctx.Err() != nil {
					return
				}
				c.takePartition(t.Topic, &t.Partitions[k], now, deliver)
			}
		}
	}
}

func (c *Consumer) takePartition(topic string, fp *kgo.FetchPartition, now int64, deliver func(*Batch)) {
	p := c.lookup(topic, fp.Partition)
	if fp.Err != nil {
		c.fetchFailed(topic, fp, p)
	}
	if p == nil {
		return // lost between the fetch and now
	}
	if c.cfg.OnOutOfRange != Halt {
		if p = c.afterReset(p, fp); p == nil {
			return
		}
	}
	r, err := p.add(fp, now)
	if err != nil {
		p.halt(&HaltError{Offset: p.next(), LostFrom: -1, LostTo: -1, Err: err, Remedy: "restart the consumer; it starts from the committed offset"})
		return
	}
	if r != nil {
		c.hand(r, deliver)
	}
}

func (c *Consumer) hand(r *run, deliver func(*Batch)) {
	c.sawSize(r)
	begun := c.now()
	deliver(&r.Batch)
	if took := time.Duration(c.now() - begun); took > slowDeliver {
		c.log.Warn("deliver blocked the poll loop: it must hand the batch on and return", "took", took, "topic", r.Topic, "partition", r.Partition)
	}
}

// place names a partition; the client has -1 where an error is the whole topic's.
func place(topic string, partition int32) string {
	if partition < 0 {
		return fmt.Sprintf("topic %q", topic)
	}
	return fmt.Sprintf("topic %q partition %d", topic, partition)
}

// fetchFailed sorts the errors that the client does not retry by itself.
func (c *Consumer) fetchFailed(topic string, fp *kgo.FetchPartition, p *partition) {
	err := fp.Err
	if session, ok := errors.AsType[*kgo.ErrGroupSession](err); ok {
		c.groupFailed(session.Err)
		return
	}
	if isContextErr(err) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	if errors.Is(err, errInflated) {
		c.refused = true
		return
	}
	c.troubles.fetch(fmt.Errorf("reading %s: %w", place(topic, fp.Partition), err))
	if p == nil {
		// The client injects what the coordinator answered when it was asked for a committed offset, and leaves that partition out: see leftOut.
		if groupcommit.Judge(err) == groupcommit.Forbidden {
			c.stop(c.groupError(fmt.Errorf("reading the committed offset of %s: %w", place(topic, fp.Partition), err)))
			return
		}
		if !c.waiting.explain(topicPartition{topic, fp.Partition}, err) {
			c.log.Warn("reading failed", "topic", topic, "partition", fp.Partition, "err", err)
		}
		return
	}
	if errors.Is(err, kerr.OffsetOutOfRange) && fp.LogStartOffset < 0 {
		fp.LogStartOffset = c.logStart(topic, fp.Partition) // Kafka 4.3.1 leaves it out of this error; the embedded broker does not
	}
	if e := c.haltFor(p, fp); e != nil {
		p.halt(e)
		return
	}
	c.log.Warn("reading failed; it is tried again", "topic", topic, "partition", fp.Partition, "err", err)
}

// haltFor makes the HaltError of a fetch error after which reading on would skip something, or nil.
func (c *Consumer) haltFor(p *partition, fp *kgo.FetchPartition) *HaltError {
	err, next := fp.Err, p.next()
	e := &HaltError{Offset: next, LostFrom: -1, LostTo: -1, Err: err}
	loss, truncated := errors.AsType[*kgo.ErrDataLoss](err)
	_, large := errors.AsType[*kgo.ErrDecompressTooLarge](err)
	switch {
	case truncated:
		if c.cfg.OnOutOfRange != Halt {
			return nil // the client goes on where it was configured to; afterReset counts and reports it
		}
		p.disown()
		e.LostFrom, e.LostTo = loss.ResetTo, loss.ConsumedTo
		e.Remedy = "the log was truncated below what was read: check the topic, then reset the group's offset, or set OnOutOfRange to Earliest or Latest"
	case errors.Is(err, kerr.OffsetOutOfRange):
		if c.cfg.OnOutOfRange != Halt {
			return nil
		}
		if fp.LogStartOffset > next {
			e.LostFrom, e.LostTo = next, fp.LogStartOffset
		}
		e.Remedy = "reset the group's offset, or set OnOutOfRange to Earliest or Latest; raise the topic's retention if consumers are this slow"
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
		p.disown()
		return recreated(next, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		e.Remedy = "grant READ on the topic to this principal and restart the consumer"
	case large:
		e.Remedy = fmt.Sprintf("a batch inflates beyond %d bytes: raise MaxBytes", max(c.cfg.MaxBytes, minDecompressBytes))
	case kerr.IsRetriable(err):
		return nil
	default:
		e.Remedy = "the batch cannot be read: check it with another tool; the group's offset can be moved over it on purpose"
	}
	return e
}

func recreated(offset int64, err error) *HaltError {
	return &HaltError{
		Offset: offset, LostFrom: -1, LostTo: -1, Err: err,
		Remedy: "the topic was deleted or recreated, its offsets mean other records now: nothing more is committed; " +
			"restart the consumer, which then reads the new topic from Config.Start",
	}
}

// groupFailed is called for errors that ended the group session. The client joins again by itself, except that some errors never heal.
func (c *Consumer) groupFailed(err error) {
	c.troubles.group(err)
	if groupcommit.Judge(err) == groupcommit.Forbidden || errors.Is(err, kerr.TopicAuthorizationFailed) { // the coordinator refuses the subscription as a whole
		c.stop(c.groupError(err))
		return
	}
	c.log.Warn("the group session ended; it is joined again", "err", err)
}

// onHalt stops fetching a halted partition and tells about it once.
func (c *Consumer) onHalt(p *partition, e *HaltError) {
	c.log.Error("partition halted", "topic", e.Topic, "partition", e.Partition, "offset", e.Offset, "err", e.Err,
		"lost_from", e.LostFrom, "lost_to", e.LostTo, "remedy", e.Remedy)
	c.wakeFlow()
	if c.cfg.OnHalt != nil {
		c.cfg.OnHalt(e)
	}
	if c.onHalted != nil {
		c.onHalted(e)
	}
}

// afterReset notices that the client moved the position, as OnOutOfRange lets it: it reports the range that was skipped, and where the
// position went back it ends the stay and begins another one, because no mark of the old one means anything in the new log.
func (c *Consumer) afterReset(p *partition, fp *kgo.FetchPartition) *partition {
	if len(fp.Records) == 0 {
		return p
	}
	a, first, next := p.assignment, fp.Records[0].Offset, p.next()
	if first < next {
		c.log.Error("the log went back: reading on from an earlier offset, as OnOutOfRange says", "topic", a.Topic, "partition", a.Partition,
			"read_to", next, "now", first, "policy", c.cfg.OnOutOfRange)
		return c.restart(p, first)
	}
	if fp.LogStartOffset > next {
		c.log.Error("inputs were lost before they were read: going on, as OnOutOfRange says", "topic", a.Topic, "partition", a.Partition,
			"lost_from", next, "lost_to", first, "policy", c.cfg.OnOutOfRange)
		p.skipped(first - next)
	}
	return p
}

// restart replaces a stay by one that starts at another offset, under the same membership. It returns nil when the stay ended meanwhile.
// It may wait for hookMu: whoever holds that while a poll is being worked off does not wait for the poll.
func (c *Consumer) restart(p *partition, start int64) *partition {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	m := c.membership.Load()
	if m == nil || c.lookup(p.assignment.Topic, p.assignment.Partition) != p {
		return nil
	}
	p.fence(ErrLost)
	p.end(ErrLost)
	a := *p.assignment
	a.Epoch, a.Start, a.DoneSet = epochs.Add(1), start, ""
	fresh := newPartition(c, &a, -1)
	c.flowMu.Lock()
	c.partsMu.Lock()
	c.parts[a.Topic][a.Partition] = fresh
	c.partsMu.Unlock()
	if cl := c.client.Load(); cl != nil {
		cl.ResumeFetchPartitions(map[string][]int32{a.Topic: {a.Partition}}) // the old stay may have been paused; the new one does not know
	}
	c.flowMu.Unlock()
	if c.cfg.Hooks.Lost != nil {
		c.cfg.Hooks.Lost([]*Assignment{p.assignment})
	}
	c.callAssigned(context.Background(), []*Assignment{&a})
	return fresh
}
