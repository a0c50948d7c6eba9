package outlet

import (
	"context"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Rec is a record on its way. Its owner embeds it as the first field of a struct, sets the record, Promise and To, and leaves it alone until Promise is
// called, once.
type Rec struct {
	kgo.Record
	// Promise learns the record's fate. It may be called from two goroutines at the same time, for different records, and must not block.
	Promise func(*kgo.Record, error)
	// To is the record's topic.
	To *Topic
	// Explicit: the record names its partition in Record.Partition.
	Explicit bool

	part  *part  // set when it has a partition, under the client's lock on it
	stamp uint64 // not 0: handed over during a repair; atomic, for the client may ask the context of a record that has a fate
	first bool   // handed over before its topic's partitions were known
}

// recOf is right for every record of both clients, because nobody else has them.
func recOf(r *kgo.Record) *Rec { return (*Rec)(unsafe.Pointer(r)) }

// during is a record as the context that it is produced under: it has ended if the record must not be sent by the usual client now.
type during Rec

var always = make(chan struct{})

func init() { close(always) }

// Deadline implements context.Context.
func (*during) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context. The client asks when it is about to send the record's batch, holding the lock under which stamp was set.
func (d *during) Done() <-chan struct{} {
	if atomic.LoadUint64(&d.stamp) != 0 {
		return always
	}
	return nil
}

// Err implements context.Context.
func (d *during) Err() error {
	if atomic.LoadUint64(&d.stamp) != 0 {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context.
func (*during) Value(any) any { return nil }

// halting is a partition as the context that the second client produces its records under.
type halting part

// Deadline implements context.Context.
func (*halting) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context. The client asks when it is about to send a batch.
func (h *halting) Done() <-chan struct{} {
	if h.halt.Load() {
		return always
	}
	return nil
}

// Err implements context.Context.
func (h *halting) Err() error {
	if h.halt.Load() {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context.
func (*halting) Value(any) any { return nil }

// weight is what the record takes of a batch, at most.
func (r *Rec) weight() int64 {
	const record, header = 70 + 40, 10
	n := int64(record + len(r.Key) + len(r.Record.Value))
	for i := range r.Headers {
		n += int64(header + len(r.Headers[i].Key) + len(r.Headers[i].Value))
	}
	return n
}
