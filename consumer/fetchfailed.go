package consumer

import (
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/neterr"
)

// fetchFailed sorts the errors that the client does not retry by itself.
func (rd *reader) fetchFailed(topic string, fp *kgo.FetchPartition, p *partition) {
	err := fp.Err
	if session, ok := errors.AsType[*kgo.ErrGroupSession](err); ok {
		rd.groupFailed(session.Err)
		return
	}
	if isContextErr(err) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	if errors.Is(err, errInflated) {
		rd.refused = true
		return
	}
	rd.troubles.fetch(fmt.Errorf("reading %s: %w", place(topic, fp.Partition), err))
	if p == nil {
		// The client injects what the coordinator answered when it was asked for a committed
		// offset, and leaves that partition out: see leftOut.
		if groupcommit.Judge(err) == groupcommit.Forbidden {
			rd.stop(rd.cfg.groupError(fmt.Errorf("reading the committed offset of %s: %w", place(topic, fp.Partition), err)))
			return
		}
		if !rd.explain(topicPartition{topic, fp.Partition}, err) {
			rd.log.Warn("reading failed", "topic", topic, "partition", fp.Partition, "err", err)
		}
		return
	}
	if errors.Is(err, kerr.OffsetOutOfRange) && fp.LogStartOffset < 0 {
		fp.LogStartOffset = rd.survey.logStart(topic, fp.Partition) // Kafka 4.3.1 leaves it out of this error; the embedded broker does not
	}
	if e := rd.haltFor(p, fp); e != nil {
		p.halt(e)
		return
	}
	rd.log.Warn("reading failed; it is tried again", "topic", topic, "partition", fp.Partition, "err", err)
}

// haltFor makes the HaltError of a fetch error after which reading on would skip something, or nil.
func (rd *reader) haltFor(p *partition, fp *kgo.FetchPartition) *HaltError {
	err, next := fp.Err, p.next()
	e := &HaltError{Offset: next, LostFrom: -1, LostTo: -1, Err: err}
	loss, truncated := errors.AsType[*kgo.ErrDataLoss](err)
	_, large := errors.AsType[*kgo.ErrDecompressTooLarge](err)
	switch {
	case truncated:
		if rd.cfg.OnOutOfRange != Halt {
			return nil // the client goes on where it was configured to; afterReset counts and reports it
		}
		p.disown()
		e.LostFrom, e.LostTo = loss.ResetTo, loss.ConsumedTo
		e.Remedy = "the log was truncated below what was read: check the topic, then reset the group's offset, or set OnOutOfRange to ResetEarliest or ResetLatest"
	case errors.Is(err, kerr.OffsetOutOfRange):
		if rd.cfg.OnOutOfRange != Halt {
			return nil
		}
		if fp.LogStartOffset > next {
			e.LostFrom, e.LostTo = next, fp.LogStartOffset
		}
		e.Remedy = "reset the group's offset, or set OnOutOfRange to ResetEarliest or ResetLatest; raise the topic's retention if consumers are this slow"
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
		p.disown()
		return recreated(next, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		e.Remedy = "grant READ on the topic to this principal and restart the consumer"
	case large:
		e.Remedy = fmt.Sprintf("a batch inflates beyond %d bytes: raise MaxBytes", max(rd.cfg.MaxBytes, minDecompressBytes))
	case kerr.IsRetriable(err), isConnection(err):
		return nil
	default:
		e.Remedy = "the batch cannot be read: check it with another tool; the group's offset can be moved over it on purpose"
	}
	return e
}

// isConnection tells that a connection failed: that says nothing of what is in the partition. The
// client tries again, and tells some of these errors all the same: those of the requests that find
// out where to read on.
func isConnection(err error) bool {
	_, network := errors.AsType[net.Error](err)
	_, closed := errors.AsType[*kgo.ErrFirstReadEOF](err)
	return network || closed || neterr.Reset(err) || neterr.Refused(err) || neterr.Unreachable(err)
}

func recreated(offset int64, err error) *HaltError {
	return &HaltError{
		Offset: offset, LostFrom: -1, LostTo: -1, Err: err,
		Remedy: "the topic was deleted or recreated, its offsets mean other records now: nothing more is committed; " +
			"restart the consumer, which then reads the new topic from Config.Start",
	}
}

// groupFailed is called for errors that ended the group session. The client joins again by itself,
// except that some errors never heal.
func (rd *reader) groupFailed(err error) {
	rd.troubles.group(err)
	if rd.mayBeReleased(err) {
		rd.log.Warn("the brokers keep this static member's place for a former process, until its session is over; it is joined again", "instance", rd.cfg.InstanceID, "err", err)
		return
	}
	if groupcommit.Judge(err) == groupcommit.Forbidden || errors.Is(err, kerr.TopicAuthorizationFailed) { // the coordinator refuses the subscription as a whole
		rd.stop(rd.cfg.groupError(err))
		return
	}
	rd.log.Warn("the group session ended; it is joined again", "err", err)
}

// afterReset notices that the client moved the position, as OnOutOfRange lets it: it reports the
// range that was skipped, and where the position went back it ends the assignment and begins
// another one, because no mark of the old one means anything in the new log.
func (rd *reader) afterReset(p *partition, fp *kgo.FetchPartition) *partition {
	if len(fp.Records) == 0 {
		return p
	}
	a, first, next := p.assignment, fp.Records[0].Offset, p.next()
	if first < next {
		rd.log.Error("the log went back: reading on from an earlier offset, as OnOutOfRange says", "topic", a.Topic, "partition", a.Partition,
			"read_to", next, "now", first, "policy", rd.cfg.OnOutOfRange)
		return rd.restart(p, first)
	}
	if fp.LogStartOffset > next {
		rd.log.Error("inputs were lost before they were read: going on, as OnOutOfRange says", "topic", a.Topic, "partition", a.Partition,
			"lost_from", next, "lost_to", first, "policy", rd.cfg.OnOutOfRange)
		p.skipped(first - next)
	}
	return p
}
