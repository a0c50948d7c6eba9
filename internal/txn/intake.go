package txn

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// intake takes units into windows: it asks for their records, and has those produced.
type intake struct {
	ids     *ids
	topics  *topics
	batches func(string) int32 // the largest batch of a topic that a client sends
	bounds  bounds
	room    room // of the window before

	recs     []*kgo.Record // of the unit that enters
	collect  func(*kgo.Record)
	writable string // the topic of the last record that was asked for
}

func newIntake(of *ids, t *topics, b bounds) *intake {
	in := &intake{ids: of, topics: t, bounds: b}
	in.batches, _ = of.plain.OptValue(kgo.ProducerBatchMaxBytesFn).(func(string) int32)
	in.collect = func(r *kgo.Record) { in.recs = append(in.recs, r) }
	return in
}

// room is what the next window has for its records and units.
type room struct {
	records []*kgo.Record
	first   []int
}

// open makes a window, in the room of the one before.
func (in *intake) open(now time.Time) *window {
	w := newWindow(now, in.batches)
	w.records, w.first, in.room = in.room.records, in.room.first, room{}
	return w
}

// reuse keeps the room of a window that is committed for the next one.
func (in *intake) reuse(w *window) {
	clear(w.records)
	if in.room = (room{}); cap(w.records) <= maxUnits && cap(w.first) <= maxUnits {
		in.room = room{w.records[:0], w.first[:0]}
	}
}

// begin has topics asked for again.
func (in *intake) begin() { in.writable = "" }

// isFull tells that nothing more goes into a window, or must.
func (in *intake) isFull(w *window) bool { return w.why != nil || in.bounds.isFull(w) }

// enter takes a unit into a window, unless it can be told before that Kafka would refuse it.
func (in *intake) enter(w *window, one Run) {
	in.recs = in.recs[:0]
	one.Batch.Produce(one.From, in.collect)
	if bad := in.refuse(); bad != nil {
		fail(one, bad)
	} else {
		w.add(one)
		for _, rec := range in.recs {
			in.emit(w, rec)
		}
	}
	clear(in.recs)
}

// refuse finds the first of a unit's records whose topic does not exist, or is not to be written
// to.
func (in *intake) refuse() *RecordError {
	for i, rec := range in.recs {
		if rec.Topic == in.writable {
			continue
		}
		if err := in.topics.whyNot(rec.Topic); err != nil {
			return &RecordError{Output: i, Topic: rec.Topic, Partition: rec.Partition, Err: err}
		}
		in.writable = rec.Topic
	}
	return nil
}

// emit produces a record of a window. The first one begins the transaction.
func (in *intake) emit(w *window, r *kgo.Record) {
	if w.why != nil {
		return
	}
	if w.twin == nil {
		w.twin = in.ids.useTwin()
		if err := w.twin.client.BeginTransaction(); err != nil {
			w.why = err
			return
		}
	}
	cl := w.twin.client
	w.left.Add(1)
	w.records = append(w.records, r)
	w.bytes += int64(len(r.Key)+len(r.Value)) + recordCost
	cl.Produce(context.Background(), r, w.made)
	if len(w.records)%sendEvery == 0 {
		_ = cl.Flush(ended) // it ends the linger, and then sees that the context is over
	}
}

// sendEvery is after how many records of a window nothing lingers any more: where there are as
// many, the brokers write while the window fills, and not when it closes.
const sendEvery = 4096

var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// recordCost is what a record takes beside its key and value, about.
const recordCost = 64
