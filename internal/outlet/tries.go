package outlet

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// tries knows which records Kafka took at a second try. A batch that failed is sent again as it
// was, under the same numbers of its producer, or, if Kafka does not know those any more, under
// others in the same order; when it is acknowledged, its place in the partition tells whose records
// were in it. Nil tells nothing. It has no clock and no I/O.
type tries struct {
	renumbers bool // what failed may be sent again under other numbers

	places atomic.Int32 // in which there are offsets of batches that were sent again
	failed atomic.Int32 // partitions with batches that failed

	mu sync.Mutex
	of map[partitionID]*tried
}

type partitionID struct {
	topic     string
	partition int32
}

// tried is what is known of a partition.
type tried struct {
	failed  []batchID
	again   []offsets
	givenUp *batchID // batches of its producer and epoch are; nil: none
}

// batchID is how a producer numbers a batch: it is the same in each try.
type batchID struct {
	producer int64
	epoch    int16
	sequence int32
}

func (a batchID) sameEpoch(b batchID) bool { return a.producer == b.producer && a.epoch == b.epoch }

// offsets are [from, to).
type offsets struct{ from, to int64 }

// maxTried is more than the batches of a partition that kgo has on their way.
const maxTried = 16

func newTries(renumbers bool) *tries {
	return &tries{renumbers: renumbers, of: map[partitionID]*tried{}}
}

// fail notes a batch that failed, or has no answer.
func (t *tries) fail(at partitionID, id batchID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.known(at)
	defer t.changed(at, of, len(of.failed), len(of.again))
	if slices.Contains(of.failed, id) || of.givenUp != nil && of.givenUp.sameEpoch(id) {
		return
	}
	if of.failed = append(of.failed, id); len(of.failed) > maxTried {
		of.failed = of.failed[1:]
	}
}

// waits tells that a batch of some partition failed: its next answer counts.
func (t *tries) waits() bool { return t.failed.Load() > 0 }

// known is what is known of a partition, from now on. mu is held.
func (t *tries) known(at partitionID) *tried {
	of := t.of[at]
	if of == nil {
		of = new(tried)
		t.of[at] = of
	}
	return of
}

// giveUp notes that the client fails what it has of a partition, and that batch with it.
func (t *tries) giveUp(at partitionID, id batchID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.known(at)
	defer t.changed(at, of, len(of.failed), len(of.again))
	of.failed, of.givenUp = nil, &id
}

// ack notes an acknowledged batch: that of n records which begins at base. Of a duplicate that
// Kafka does not find any more base is -1, as the client numbers its records then.
func (t *tries) ack(at partitionID, id batchID, base int64, n int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.of[at]
	if of == nil {
		return
	}
	i := slices.Index(of.failed, id)
	defer t.changed(at, of, len(of.failed), len(of.again))
	older := func(f batchID) bool { return !f.sameEpoch(id) }
	switch {
	case i >= 0:
	case !t.renumbers:
		of.failed = slices.DeleteFunc(of.failed, older) // of a transaction that is over
	default:
		i = slices.IndexFunc(of.failed, older) // numbered anew, in their order
	}
	if i < 0 {
		return
	}
	of.failed = slices.Delete(of.failed, i, i+1)
	if of.again = append(of.again, offsets{base, base + int64(n)}); len(of.again) > maxTried {
		of.again = of.again[1:]
	}
}

// took tells whether an acknowledged record was sent again. The records of a partition come in the
// order of their offsets.
func (t *tries) took(r *kgo.Record) bool {
	return t != nil && t.places.Load() != 0 && t.look(partitionID{r.Topic, r.Partition}, r.Offset)
}

func (t *tries) look(at partitionID, offset int64) (again bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.of[at]
	if of == nil {
		return false
	}
	defer t.changed(at, of, len(of.failed), len(of.again))
	of.again = slices.DeleteFunc(of.again, func(o offsets) bool {
		again = again || offset >= o.from && offset < o.to
		return offset+1 >= o.to // nothing behind it will be asked for
	})
	return again
}

// forget drops what is known of a topic: it was created anew, and its offsets begin again.
func (t *tries) forget(topic string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for at, of := range t.of {
		if at.topic == topic {
			failed, again := len(of.failed), len(of.again)
			of.failed, of.again, of.givenUp = nil, nil, nil
			t.changed(at, of, failed, again)
		}
	}
}

// changed follows a change of a partition that had so many. mu is held.
func (t *tries) changed(at partitionID, of *tried, failed, again int) {
	t.failed.Add(has(len(of.failed)) - has(failed))
	t.places.Add(has(len(of.again)) - has(again))
	if len(of.failed) == 0 && len(of.again) == 0 && of.givenUp == nil {
		delete(t.of, at)
	}
}

func has(n int) int32 { return int32(min(n, 1)) }

// telling is the hook of a client whose connections are tapped: it tells the owner of each record
// that was sent again, just before the record's promise.
type telling struct {
	tries *tries
	again func(*kgo.Record)
}

var _ kgo.HookProduceRecordUnbuffered = telling{}

// OnProduceRecordUnbuffered implements kgo.HookProduceRecordUnbuffered.
func (t telling) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	if err == nil && t.tries.took(r) {
		t.again(r)
	}
}
