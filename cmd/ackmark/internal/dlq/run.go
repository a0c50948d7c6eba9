package dlq

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
)

const (
	batchLetters = 500
	batchBytes   = 512 << 10 // below every sensible max.message.bytes; a letter that is larger goes alone
)

// Job gives letters back, or discards them, as a plan says.
type Job struct {
	Topic *Topic
	Rule  *letters.Rule
	// Options of the client that writes.
	Options []kgo.Opt
	// Rate bounds letters per second; 0: none.
	Rate float64
	// ByKey chooses the partition by the key, also where the letter names the one it came from.
	ByKey bool
	// Finished counts letters that are given back, or discarded, for certain.
	Finished atomic.Int64

	began     time.Time
	writer    *writer
	plan      *Plan
	hash      map[string]kgo.TopicPartitioner
	batch     batch
	partition int32
}

// batch is what goes into one transaction.
type batch struct {
	letters []letters.Letter
	to      []string
	spans   [][2]int64 // offsets that each finishes: itself, and those before it that do not exist
	bytes   int
}

// FullError is that a position cannot say more.
type FullError struct {
	Topic     string
	Partition int32
	Offset    int64 // the letter that does not fit
	Mark      int64 // the oldest that waits
}

func (e *FullError) Error() string {
	return fmt.Sprintf("the position of %s/%d cannot tell letter %d from the many before it that wait; redrive or discard the oldest ones first, from offset %d on", e.Topic, e.Partition, e.Offset, e.Mark)
}

// RefusedError is a letter that Kafka does not take.
type RefusedError struct {
	Topic     string
	Partition int32
	Offset    int64
	To        string
	Err       error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("letter %d:%d of %s is refused by %s: %v; raise the topic's max.message.bytes, or discard the letter with --offset %d:%d", e.Partition, e.Offset, e.Topic, letters.Printable(e.To), e.Err, e.Partition, e.Offset)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// Run does what the plan says, from where the position is now. It ends early when ctx does, between
// two transactions.
func (j *Job) Run(ctx context.Context, plan *Plan) (err error) {
	if j.writer, err = newWriter(ctx, j.Topic, j.Options); err != nil {
		return err
	}
	defer j.writer.close()
	// Whoever was before is fenced by now, and the position does not move any more but by us.
	if err := j.Topic.bounds(ctx); err != nil {
		return err
	}
	if err := j.Topic.Positions(ctx, true); err != nil {
		return err
	}
	j.Topic.Lower(plan.Ends)
	j.began, j.plan, j.hash = time.Now(), plan, map[string]kgo.TopicPartitioner{}
	for i := range j.Topic.Partitions {
		if err := j.onePartition(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// onePartition goes through a partition in order: so the order of its letters is kept.
func (j *Job) onePartition(ctx context.Context, i int) error {
	j.partition, j.batch = int32(i), batch{}
	seen := j.Topic.Partitions[i].Position.Mark()
	err := j.Topic.Partition(ctx, i, false, func(l *letters.Letter, done bool) error {
		from := seen
		seen = l.Offset + 1
		if done {
			return nil
		}
		to, stays := j.Rule.Decide(l)
		if stays != "" {
			return nil
		}
		if _, planned := j.plan.Targets[to]; !planned && to != "" {
			return fmt.Errorf("letter %d:%d goes to %q, which is not in the plan; run it again", l.Partition, l.Offset, letters.Printable(to))
		}
		size := l.Size()
		if len(j.batch.letters) >= j.most() || len(j.batch.letters) > 0 && j.batch.bytes+size > batchBytes {
			if err := j.flush(ctx); err != nil {
				return err
			}
		}
		j.batch.letters = append(j.batch.letters, *l)
		j.batch.to = append(j.batch.to, to)
		j.batch.spans = append(j.batch.spans, [2]int64{from, l.Offset})
		j.batch.bytes += size
		return nil
	})
	if err != nil {
		return err
	}
	return j.flush(ctx)
}

// most is how many letters a transaction takes: with a rate, a tenth of a second's.
func (j *Job) most() int {
	if j.Rate <= 0 {
		return batchLetters
	}
	return max(1, min(batchLetters, int(j.Rate/10)))
}

// flush finishes the batch, in as many transactions as it takes.
func (j *Job) flush(ctx context.Context) error {
	b := j.batch
	j.batch = batch{}
	return j.finish(ctx, b)
}

func (j *Job) finish(ctx context.Context, b batch) error {
	n := len(b.letters)
	if n == 0 {
		return nil
	}
	next, fit := j.advance(b)
	if fit < n {
		if fit > 0 {
			if err := j.finish(ctx, b.part(0, fit)); err != nil {
				return err
			}
		}
		mark := j.Topic.Partitions[j.partition].Position.Mark()
		return &FullError{Topic: j.Topic.Name, Partition: j.partition, Offset: b.letters[fit].Offset, Mark: mark}
	}
	if err := j.wait(ctx); err != nil {
		return err
	}
	err := j.transact(ctx, b, next)
	switch {
	case err == nil:
		j.Topic.Partitions[j.partition].Position = next
		j.Finished.Add(int64(n))
		return nil
	case !refused(err):
		return err
	case n == 1:
		return &RefusedError{Topic: j.Topic.Name, Partition: j.partition, Offset: b.letters[0].Offset, To: b.to[0], Err: err}
	}
	// One of them is refused: the halves find it, and the others go.
	if err := j.finish(ctx, b.part(0, n/2)); err != nil {
		return err
	}
	return j.finish(ctx, b.part(n/2, n))
}

func refused(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) || errors.Is(err, kerr.InvalidRecord)
}

func (b *batch) part(from, to int) batch {
	return batch{letters: b.letters[from:to], to: b.to[from:to], spans: b.spans[from:to]}
}

// advance is the position with the batch's letters done, and how many of them it can say.
func (j *Job) advance(b batch) (next letters.Position, fit int) {
	next = j.Topic.Partitions[j.partition].Position.Clone()
	for fit < len(b.letters) {
		before := next.Clone()
		next.Finish(b.spans[fit][0], b.spans[fit][1])
		if _, _, _, ok := next.Commit(j.Topic.id); !ok {
			return before, fit
		}
		fit++
	}
	return next, fit
}

// transact writes a batch. Once begun it is not interrupted: it ends by its time limit.
func (j *Job) transact(ctx context.Context, b batch, next letters.Position) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionLimit)
	defer cancel()
	var records []*kgo.Record
	if !j.Rule.Discard {
		for i := range b.letters {
			records = append(records, j.record(&b.letters[i], b.to[i]))
		}
	}
	return j.writer.write(ctx, records, map[int32]letters.Position{j.partition: next})
}

// record is the letter on its way back.
func (j *Job) record(l *letters.Letter, to string) *kgo.Record {
	rec := l.Back(to, j.source(l))
	n := j.plan.partitions[to]
	if !j.ByKey && to == l.Source && l.SourcePartition >= 0 && int(l.SourcePartition) < n {
		rec.Partition = l.SourcePartition
		return rec
	}
	hash := j.hash[to]
	if hash == nil {
		hash = kgo.StickyKeyPartitioner(nil).ForTopic(to)
		j.hash[to] = hash
	}
	rec.Partition = int32(hash.Partition(rec, n))
	return rec
}

// source is the header by which an audit knows the letter.
func (j *Job) source(l *letters.Letter) []byte {
	b := append([]byte(j.Topic.Name), '/')
	b = strconv.AppendInt(b, int64(l.Partition), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, l.Offset, 10)
	b = append(b, "/0/1/"...)
	if j.Topic.id != (kadm.TopicID{}) {
		b = base64.RawURLEncoding.AppendEncode(b, j.Topic.id[:])
	}
	b = append(b, '/')
	return append(b, j.Topic.Group...)
}

// wait keeps the rate, and is where an interruption is heard.
func (j *Job) wait(ctx context.Context) error {
	due := j.began
	if j.Rate > 0 {
		due = due.Add(time.Duration(float64(j.Finished.Load()) / j.Rate * float64(time.Second)))
	}
	if late := time.Until(due); late > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(late):
		}
	}
	return context.Cause(ctx)
}

// Recount reads the position again and tells whether all that was planned is done: how many of the
// letters that the rule chooses still wait below the plan's ends.
func (j *Job) Recount(ctx context.Context) (left int64, err error) {
	t := j.Topic
	if err := t.Positions(ctx, true); err != nil {
		return 0, err
	}
	err = t.Each(ctx, false, nil, func(l *letters.Letter, done bool) {
		if _, stays := j.Rule.Decide(l); !done && stays == "" {
			left++
		}
	})
	return left, err
}
