package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// reader polls, and hands out within the memory budget. Its fields are the poll goroutine's, except
// those that are atomic.
type reader struct {
	cfg      *Config
	log      *slog.Logger
	clock    clock
	brokers  *brokers
	parts    *held
	survey   *survey
	troubles *troubles

	stop    func(error)                                // the consumer, which cannot go on
	explain func(topicPartition, error) bool           // why a partition waits; false: it does not
	restart func(p *partition, start int64) *partition // ends an assignment and begins another, see group.restart

	maxPoll   int
	meanSize  int64 // of records, for pollLimit
	inflation *inflation
	refused   bool // a batch was refused for what is held decompressed
	parking   bool // records are parked
	room      roomWait
	pollEnd   atomic.Pointer[context.CancelFunc]
	shared    fetchShares
	largest   largestBatch
}

func newReader(cfg *Config, log *slog.Logger, clock clock, b *brokers, parts *held, s *survey) *reader {
	return &reader{
		cfg: cfg, log: log, clock: clock, brokers: b, parts: parts, survey: s, maxPoll: cfg.maxPoll(), room: roomWait{kicks: make(chan struct{}, 1)},
	}
}

// clientOptions bound what the client holds decompressed.
func (rd *reader) clientOptions() []kgo.Opt {
	opts := []kgo.Opt{kgo.WithHooks(&rd.largest)}
	if rd.cfg.decompressor == nil {
		return opts
	}
	rd.inflation = newInflation(rd.cfg.MaxBytes/2, rd.cfg.decompressor)
	return append(opts, kgo.WithDecompressor(rd.inflation), kgo.WithHooks(rd.inflation))
}

// slowDeliver is when a deliver that blocks is worth a warning: rebalances and all partitions wait
// for it.
const slowDeliver = time.Second

// poll hands out what the client fetched, until ctx ends. The error is that the client was closed.
// Between a poll and AllowRebalance no callback runs, so the partitions that the records belong to
// are the ones held when they were fetched: without that, records of an assignment that ended could
// be entered in the next one, which started elsewhere. Nothing waits in between.
func (rd *reader) poll(ctx context.Context, cl *kgo.Client, deliver func(*Batch)) error {
	for ctx.Err() == nil {
		rd.shareFetches(cl)
		begun := rd.clock.now()
		fetches := rd.pollOnce(ctx, cl)
		if rd.cfg.tracer != nil {
			rd.cfg.tracer.Polled(fetches, rd.cfg.Group, time.Duration(rd.clock.now()-begun))
		}
		if fetches.IsClientClosed() {
			cl.AllowRebalance()
			return kgo.ErrClientClosed
		}
		rd.unparkAll(rd.clock.now(), deliver) // before what comes behind it
		rd.take(ctx, fetches, deliver)
		cl.AllowRebalance()
		rd.awaitRoom(ctx)
		rd.awaitDeflation(ctx, cl)
		rd.balanceFlow()
	}
	return nil
}

// pollLimit keeps what polls can add above the budget to about an eighth of it, by the size of
// records seen lately.
func (rd *reader) pollLimit() int {
	room := rd.pollRoom()
	records := min(max(int(room*float64(rd.cfg.MaxRecords)), 1), rd.maxPoll)
	if rd.meanSize == 0 {
		return min(records, 512)
	}
	return int(min(max(int64(room*float64(rd.cfg.MaxBytes))/rd.meanSize, 1), int64(records)))
}

// sawSize follows the mean size of records: upwards at once, downwards slowly.
func (rd *reader) sawSize(r *run) {
	mean := r.bytes/int64(len(r.Messages)) + 1
	if mean < rd.meanSize {
		mean = (15*rd.meanSize + mean) / 16
	}
	rd.meanSize = mean
}

func (rd *reader) take(ctx context.Context, fetches kgo.Fetches, deliver func(*Batch)) {
	now := rd.clock.now()
	for i := range fetches {
		for j := range fetches[i].Topics {
			t := &fetches[i].Topics[j]
			for k := range t.Partitions {
				if ctx.Err() != nil {
					return
				}
				rd.takePartition(t.Topic, &t.Partitions[k], now, deliver)
			}
		}
	}
}

func (rd *reader) takePartition(topic string, fp *kgo.FetchPartition, now int64, deliver func(*Batch)) {
	p := rd.parts.find(topic, fp.Partition)
	if fp.Err != nil {
		rd.fetchFailed(topic, fp, p)
	}
	if p == nil {
		return // lost between the fetch and now
	}
	if rd.cfg.OnOutOfRange != Halt {
		if p = rd.afterReset(p, fp); p == nil {
			return
		}
	}
	r, err := p.add(fp, now)
	rd.parking = rd.parking || p.parks()
	if err != nil {
		p.halt(&HaltError{Offset: p.next(), LostFrom: -1, LostTo: -1, Err: err, Remedy: "restart the consumer; it starts from the committed offset"})
		return
	}
	if r != nil {
		rd.hand(r, deliver)
	}
}

func (rd *reader) hand(r *run, deliver func(*Batch)) {
	rd.sawSize(r)
	begun := rd.clock.now()
	deliver(&r.Batch)
	if took := time.Duration(rd.clock.now() - begun); took > slowDeliver {
		rd.log.Warn("deliver blocked the poll loop: it must hand the batch on and return", "took", took, "topic", r.Topic, "partition", r.Partition)
	}
}

// place names a partition; the client has -1 where an error is the whole topic's.
func place(topic string, partition int32) string {
	if partition < 0 {
		return fmt.Sprintf("topic %q", topic)
	}
	return fmt.Sprintf("topic %q partition %d", topic, partition)
}
