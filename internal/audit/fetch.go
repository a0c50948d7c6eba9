package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	fetchBytes          = 8 << 20 // of one response
	fetchPartitionBytes = 1 << 20 // of one partition in it, which is what is inflated at a time
	fetchWait           = 500     // ms, while a broker has nothing
	fetchEmpty          = 3       // answers without records, one after the other, that say there are none
	fetchPause          = 200 * time.Millisecond
	fetchPatience       = time.Minute // without any progress
)

// task is a partition to read, up to an end that is known before.
type task struct {
	topic     string
	id        kadm.TopicID
	partition int32
	next, end int64
	// unseen is the offset behind the last batch that was counted, holes how many offsets before it
	// have no record.
	unseen, holes int64
	take          func([]*kgo.Record) error
	// skipped is told when records were deleted before they could be read.
	skipped func()
	// empty is how many responses in a row had nothing. Then it is asked for alone: brokers may
	// leave a partition empty because others filled the response.
	empty int
}

func (t *task) done() bool { return t.next >= t.end }

// reader reads partitions with fetch requests of its own. A consuming client would never say that
// it has passed the last offset when that is a control record, an aborted record or a gap, and an
// audit must neither wait forever nor guess.
type reader struct {
	client    *kgo.Client
	isolation kgo.IsolationLevel
	level     int8
	inflate   kgo.Decompressor // one for all: it keeps buffers
	progress  *Progress

	mu    sync.Mutex
	notes []string
}

// run reads all tasks to their ends, side by side from all leaders.
func (r *reader) run(ctx context.Context, tasks []*task) error {
	began, lastErr := time.Now(), error(nil)
	for tasks = open(tasks); len(tasks) > 0; tasks = open(tasks) {
		before := r.progress.Passed.Load()
		leaders, err := r.leaders(ctx, tasks)
		if err == nil {
			err = r.readAll(ctx, leaders)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if fatal, ok := errors.AsType[*fatalError](err); ok {
			return fatal.error
		}
		if err != nil {
			lastErr = err
		}
		if r.progress.Passed.Load() != before {
			began = time.Now()
		}
		if rest := open(tasks); len(rest) > 0 {
			if time.Since(began) > fetchPatience {
				return fmt.Errorf("no progress for %s at %s/%d, offset %d of %d: %w", fetchPatience, rest[0].topic, rest[0].partition, rest[0].next, rest[0].end,
					errors.Join(lastErr, errNoRecords))
			}
			select {
			case <-ctx.Done():
			case <-time.After(fetchPause):
			}
		}
	}
	return nil
}

var errNoRecords = errors.New("the partition's leader sends no records; check the brokers, and the permission to read the topic")

// fatalError is one that trying again does not cure.
type fatalError struct{ error }

func open(tasks []*task) (rest []*task) {
	for _, t := range tasks {
		if !t.done() {
			rest = append(rest, t)
		}
	}
	return rest
}

func (r *reader) leaders(ctx context.Context, tasks []*task) (map[int32][]*task, error) {
	names := map[string]bool{}
	var list []string
	for _, t := range tasks {
		if !names[t.topic] {
			names[t.topic] = true
			list = append(list, t.topic)
		}
	}
	topics, err := kadm.NewClient(r.client).ListTopics(ctx, list...)
	if err != nil {
		return nil, err
	}
	by := map[int32][]*task{}
	for _, t := range tasks {
		d := topics[t.topic]
		if d.Err == nil && d.ID != t.id {
			return nil, &fatalError{fmt.Errorf("topic %s was deleted and created anew while it was read; audit again", t.topic)}
		}
		p, ok := d.Partitions[t.partition]
		if !ok || p.Leader < 0 {
			err = errors.Join(fmt.Errorf("%s/%d has no leader", t.topic, t.partition), d.Err, p.Err)
			continue
		}
		by[p.Leader] = append(by[p.Leader], t)
	}
	if len(by) == 0 {
		return nil, err
	}
	return by, nil
}

// readAll reads from each leader until its partitions are done or have moved.
func (r *reader) readAll(ctx context.Context, leaders map[int32][]*task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for leader, tasks := range leaders {
		all.Go(func() {
			err := r.readFrom(ctx, leader, tasks)
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			_, fatal := errors.AsType[*fatalError](err)
			if fatal {
				cancel()
			}
			if failed == nil || fatal {
				failed = err
			}
		})
	}
	all.Wait()
	return failed
}

// readFrom reads from one broker. An error that is not fatal, and partitions left over, mean: look
// for the leaders again.
func (r *reader) readFrom(ctx context.Context, leader int32, tasks []*task) error {
	for idle := 0; ; {
		if tasks = open(tasks); len(tasks) == 0 {
			return nil
		}
		// One partition that had nothing is asked for alone; else all, beginning with another one
		// each time: a broker serves them in order.
		ask := tasks
		for _, t := range tasks {
			if t.empty > 0 {
				ask = []*task{t}
				break
			}
		}
		tasks = append(tasks[1:], tasks[0])
		before := r.progress.Passed.Load()
		resp, err := r.client.Broker(int(leader)).RetriableRequest(ctx, r.request(ask))
		if err != nil {
			return err
		}
		if err := r.response(resp.(*kmsg.FetchResponse), ask); err != nil {
			return err
		}
		// Other goroutines progress too: this only bounds how long the leaders are not looked at
		// while nothing comes at all.
		if idle++; r.progress.Passed.Load() != before {
			idle = 0
		} else if idle > 20+len(tasks) {
			return errNoRecords
		}
	}
}

func (r *reader) request(tasks []*task) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, fetchWait, 1, fetchBytes
	req.IsolationLevel, req.SessionEpoch = r.level, -1
	at := map[string]int{}
	for _, t := range tasks {
		i, ok := at[t.topic]
		if !ok {
			topic := kmsg.NewFetchRequestTopic()
			topic.Topic, topic.TopicID = t.topic, t.id
			i = len(req.Topics)
			at[t.topic] = i
			req.Topics = append(req.Topics, topic)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = t.partition, t.next, -1, fetchPartitionBytes
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	return req
}

func (r *reader) response(resp *kmsg.FetchResponse, asked []*task) error {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	type place struct {
		topic     string
		id        kadm.TopicID
		partition int32
	}
	find := make(map[place]*task, len(asked))
	for _, t := range asked {
		find[place{topic: t.topic, partition: t.partition}] = t
		find[place{id: t.id, partition: t.partition}] = t // newer brokers answer with the id
	}
	for i := range resp.Topics {
		topic := &resp.Topics[i]
		for j := range topic.Partitions {
			at := place{topic: topic.Topic, partition: topic.Partitions[j].Partition}
			if topic.Topic == "" {
				at.id = topic.TopicID
			}
			if t := find[at]; t != nil {
				if err := r.records(t, &topic.Partitions[j], len(asked) == 1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// records takes what came of one partition.
func (r *reader) records(t *task, rp *kmsg.FetchResponseTopicPartition, alone bool) error {
	where := fmt.Sprintf("%s/%d at offset %d", t.topic, t.partition, t.next)
	switch err := kerr.ErrorForCode(rp.ErrorCode); {
	case errors.Is(err, kerr.OffsetOutOfRange) && rp.LogStartOffset > t.next: // retention was faster
		t.skipped()
		t.unseen = max(t.unseen, rp.LogStartOffset)
		r.pass(t, rp.LogStartOffset)
		return nil
	case errors.Is(err, kerr.OffsetOutOfRange):
		return &fatalError{fmt.Errorf("fetch %s: %w; the log was truncated while it was read, audit again", where, err)}
	case kerr.IsRetriable(err):
		return fmt.Errorf("fetch %s: %w", where, err)
	case err != nil:
		return &fatalError{fmt.Errorf("fetch %s: %w", where, err)}
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: t.next, IsolationLevel: r.isolation, Topic: t.topic, Partition: t.partition}
	fetched, next := kgo.ProcessFetchPartition(opts, rp, r.inflate, nil)
	if fetched.Err != nil { // a record that cannot be read is none that is not there
		return &fatalError{fmt.Errorf("read %s: %w", where, fetched.Err)}
	}
	t.count(rp.RecordBatches)
	records := fetched.Records
	for len(records) > 0 && records[len(records)-1].Offset >= t.end {
		records = records[:len(records)-1]
	}
	if len(records) > 0 {
		if err := t.take(records); err != nil {
			return &fatalError{err}
		}
		r.progress.Records.Add(int64(len(records)))
	}
	if next != t.next {
		t.empty = 0
	} else if t.empty++; alone && len(rp.RecordBatches) == 0 && t.empty > fetchEmpty && r.stable(rp) >= t.end {
		// Asked for alone, a broker sends the next batch whatever its size. None, again and again:
		// there is nothing from here to the end.
		r.note("%s/%d has no records from offset %d to its end %d", t.topic, t.partition, t.next, t.end)
		t.holes += t.end - t.next
		next = t.end
	}
	r.pass(t, next)
	return nil
}

// Where the fields of a batch are, version 2. It begins with its first offset and its length behind
// that.
const (
	batchLength    = 8
	batchMagic     = 16
	batchLastDelta = 23
	batchRecords   = 57
	batchHeader    = 61
)

// count adds up offsets that have no record: what compaction takes leaves them, and nothing else
// does. Markers and records of aborted transactions are there.
func (t *task) count(batches []byte) {
	for len(batches) >= batchHeader {
		first := int64(binary.BigEndian.Uint64(batches))
		size := int64(binary.BigEndian.Uint32(batches[batchLength:])) + batchLength + 4
		if size > int64(len(batches)) || first >= t.end {
			return // the broker cut it off, and sends it again
		}
		last, records := first, int64(0)
		if batches[batchMagic] == 2 {
			last += int64(int32(binary.BigEndian.Uint32(batches[batchLastDelta:])))
			records = int64(int32(binary.BigEndian.Uint32(batches[batchRecords:])))
		} // older ones do not say how many they hold: then it is not known
		if last >= t.unseen {
			t.holes += max(first-t.unseen, 0) + max(last-first+1-records, 0)
			t.unseen = last + 1
		}
		batches = batches[min(max(size, batchHeader), int64(len(batches))):]
	}
}

// stable is up to where the broker would send records.
func (r *reader) stable(rp *kmsg.FetchResponseTopicPartition) int64 {
	if r.level == 1 {
		return rp.LastStableOffset
	}
	return rp.HighWatermark
}

func (r *reader) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *reader) pass(t *task, next int64) {
	next = max(t.next, min(next, t.end))
	r.progress.Passed.Add(next - t.next)
	t.next = next
}
