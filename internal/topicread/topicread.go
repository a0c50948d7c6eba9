// Package topicread reads partitions from where one says up to ends that are known before, and then
// ends: what the audit and the dead letters are read with.
package topicread

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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

// Task is a partition to read, from Next up to an End that is known before.
type Task struct {
	Topic     string
	ID        kadm.TopicID
	Partition int32
	Next, End int64
	// Take gets the records in order. It is called by one goroutine at a time for each task; those
	// of several tasks may be called at once.
	Take func([]*kgo.Record) error
	// Skipped is told when records were deleted before they could be read.
	Skipped func()

	// unseen is the offset behind the last batch that was counted, holes how many offsets before it
	// have no record.
	unseen, holes int64
	// empty is how many responses in a row had nothing. Then it is asked for alone: brokers may
	// leave a partition empty because others filled the response.
	empty int
}

// Holes is how many offsets that were passed have no record.
func (t *Task) Holes() int64 { return t.holes }

func (t *Task) done() bool { return t.Next >= t.End }

// Progress is how many offsets were passed, and how many records they held.
type Progress struct{ Passed, Records atomic.Int64 }

// Reader reads partitions with fetch requests of its own. A consuming client would never say that
// it has passed the last offset when that is a control record, an aborted record or a gap, and an
// audit must neither wait forever nor guess.
type Reader struct {
	Client *kgo.Client
	// ReadUncommitted reads the records of open and aborted transactions too.
	ReadUncommitted bool
	// Progress may be read while Run runs. Default: one of its own.
	Progress *Progress

	isolation kgo.IsolationLevel
	level     int8
	inflate   kgo.Decompressor // one for all: it keeps buffers

	mu    sync.Mutex
	notes []string
}

// Run reads all tasks to their ends, side by side from all leaders.
func (r *Reader) Run(ctx context.Context, tasks []*Task) error {
	r.isolation, r.level, r.inflate = kgo.ReadCommitted(), 1, kgo.DefaultDecompressor()
	if r.ReadUncommitted {
		r.isolation, r.level = kgo.ReadUncommitted(), 0
	}
	if r.Progress == nil {
		r.Progress = new(Progress)
	}
	for _, t := range tasks {
		t.unseen = t.Next
	}
	began, lastErr := time.Now(), error(nil)
	for tasks = open(tasks); len(tasks) > 0; tasks = open(tasks) {
		before := r.Progress.Passed.Load()
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
		if r.Progress.Passed.Load() != before {
			began = time.Now()
		}
		if rest := open(tasks); len(rest) > 0 {
			if time.Since(began) > fetchPatience {
				return fmt.Errorf("no progress for %s at %s/%d, offset %d of %d: %w", fetchPatience, rest[0].Topic, rest[0].Partition, rest[0].Next, rest[0].End,
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

func open(tasks []*Task) (rest []*Task) {
	for _, t := range tasks {
		if !t.done() {
			rest = append(rest, t)
		}
	}
	return rest
}

func (r *Reader) leaders(ctx context.Context, tasks []*Task) (map[int32][]*Task, error) {
	names := map[string]bool{}
	var list []string
	for _, t := range tasks {
		if !names[t.Topic] {
			names[t.Topic] = true
			list = append(list, t.Topic)
		}
	}
	topics, err := kadm.NewClient(r.Client).ListTopics(ctx, list...)
	if err != nil {
		return nil, err
	}
	by := map[int32][]*Task{}
	for _, t := range tasks {
		d := topics[t.Topic]
		if d.Err == nil && d.ID != t.ID {
			return nil, &fatalError{fmt.Errorf("topic %s was deleted and created anew while it was read; run it again", t.Topic)}
		}
		p, ok := d.Partitions[t.Partition]
		if !ok || p.Leader < 0 {
			err = errors.Join(fmt.Errorf("%s/%d has no leader", t.Topic, t.Partition), d.Err, p.Err)
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
func (r *Reader) readAll(ctx context.Context, leaders map[int32][]*Task) error {
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
func (r *Reader) readFrom(ctx context.Context, leader int32, tasks []*Task) error {
	for idle := 0; ; {
		if tasks = open(tasks); len(tasks) == 0 {
			return nil
		}
		// One partition that had nothing is asked for alone; else all, beginning with another one
		// each time: a broker serves them in order.
		ask := tasks
		for _, t := range tasks {
			if t.empty > 0 {
				ask = []*Task{t}
				break
			}
		}
		tasks = append(tasks[1:], tasks[0])
		before := r.Progress.Passed.Load()
		resp, err := r.Client.Broker(int(leader)).RetriableRequest(ctx, r.request(ask))
		if err != nil {
			return err
		}
		if err := r.response(resp.(*kmsg.FetchResponse), ask); err != nil {
			return err
		}
		// Other goroutines progress too: this only bounds how long the leaders are not looked at
		// while nothing comes at all.
		if idle++; r.Progress.Passed.Load() != before {
			idle = 0
		} else if idle > 20+len(tasks) {
			return errNoRecords
		}
	}
}

func (r *Reader) request(tasks []*Task) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, fetchWait, 1, fetchBytes
	req.IsolationLevel, req.SessionEpoch = r.level, -1
	at := map[string]int{}
	for _, t := range tasks {
		i, ok := at[t.Topic]
		if !ok {
			topic := kmsg.NewFetchRequestTopic()
			topic.Topic, topic.TopicID = t.Topic, t.ID
			i = len(req.Topics)
			at[t.Topic] = i
			req.Topics = append(req.Topics, topic)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = t.Partition, t.Next, -1, fetchPartitionBytes
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	return req
}

func (r *Reader) response(resp *kmsg.FetchResponse, asked []*Task) error {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	type place struct {
		topic     string
		id        kadm.TopicID
		partition int32
	}
	find := make(map[place]*Task, len(asked))
	for _, t := range asked {
		find[place{topic: t.Topic, partition: t.Partition}] = t
		find[place{id: t.ID, partition: t.Partition}] = t // newer brokers answer with the id
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
func (r *Reader) records(t *Task, rp *kmsg.FetchResponseTopicPartition, alone bool) error {
	where := fmt.Sprintf("%s/%d at offset %d", t.Topic, t.Partition, t.Next)
	switch err := kerr.ErrorForCode(rp.ErrorCode); {
	case errors.Is(err, kerr.OffsetOutOfRange) && rp.LogStartOffset > t.Next: // retention was faster
		t.Skipped()
		t.unseen = max(t.unseen, rp.LogStartOffset)
		r.pass(t, rp.LogStartOffset)
		return nil
	case errors.Is(err, kerr.OffsetOutOfRange):
		return &fatalError{fmt.Errorf("fetch %s: %w; the log was truncated while it was read, run it again", where, err)}
	case kerr.IsRetriable(err):
		return fmt.Errorf("fetch %s: %w", where, err)
	case err != nil:
		return &fatalError{fmt.Errorf("fetch %s: %w", where, err)}
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: t.Next, IsolationLevel: r.isolation, Topic: t.Topic, Partition: t.Partition}
	fetched, next := kgo.ProcessFetchPartition(opts, rp, r.inflate, nil)
	if fetched.Err != nil { // a record that cannot be read is none that is not there
		return &fatalError{fmt.Errorf("read %s: %w", where, fetched.Err)}
	}
	t.count(rp.RecordBatches)
	records := fetched.Records
	for len(records) > 0 && records[len(records)-1].Offset >= t.End {
		records = records[:len(records)-1]
	}
	if len(records) > 0 {
		if err := t.Take(records); err != nil {
			return &fatalError{err}
		}
		r.Progress.Records.Add(int64(len(records)))
	}
	if next != t.Next {
		t.empty = 0
	} else if t.empty++; alone && len(rp.RecordBatches) == 0 && t.empty > fetchEmpty && r.stable(rp) >= t.End {
		// Asked for alone, a broker sends the next batch whatever its size. None, again and again:
		// there is nothing from here to the end.
		r.Note("%s/%d has no records from offset %d to its end %d", t.Topic, t.Partition, t.Next, t.End)
		t.holes += t.End - t.Next
		next = t.End
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
func (t *Task) count(batches []byte) {
	for len(batches) >= batchHeader {
		first := int64(binary.BigEndian.Uint64(batches))
		size := int64(binary.BigEndian.Uint32(batches[batchLength:])) + batchLength + 4
		if size > int64(len(batches)) || first >= t.End {
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
func (r *Reader) stable(rp *kmsg.FetchResponseTopicPartition) int64 {
	if r.level == 1 {
		return rp.LastStableOffset
	}
	return rp.HighWatermark
}

// Notes are what the reader of the figures should know.
func (r *Reader) Notes() []string { return r.notes }

// Note adds one; Take and Skipped may call it.
func (r *Reader) Note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *Reader) pass(t *Task, next int64) {
	next = max(t.Next, min(next, t.End))
	r.Progress.Passed.Add(next - t.Next)
	t.Next = next
}
