package outlet

import (
	"context"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Rec is a record on its way. Its owner embeds it as the first field of a struct, sets the record,
// Promise and To, and leaves it alone until Promise is called, once.
type Rec struct {
	kgo.Record
	// Promise learns the record's fate. It may be called from two goroutines at the same time, for
	// different records, and must not block.
	Promise func(*kgo.Record, error)
	// To is the record's topic.
	To *Topic
	// Explicit: the record names its partition in Record.Partition.
	Explicit bool

	first  bool  // handed over before its topic's partitions were known
	placed bool  // it has a partition, set under the client's lock on that
	id     int32 // of the partition, if placed. A number: a pointer that is written costs while the garbage collector runs
	// foreign: its context is not unstamped.
	foreign bool
	tried   bool   // its owner has sent it
	again   bool   // it was in a batch that failed
	stamp   uint64 // not 0: handed over during a repair
}

// Again tells, in the promise and after it, whether an acknowledged record was sent again: its
// batch was, or it was in one that was refused. It is not known of a batch that got no answer
// before its topic was deleted, or was just being written when one before it was refused. See
// [Config.Again].
func (r *Rec) Again() bool { return r.again }

// SentAgain notes what [Rec.Again] tells, and Sent that it is sent, again if it was before: for who
// sends records with a client of his own.
func (r *Rec) SentAgain() { r.again = true }

// Sent is told of with [Rec.SentAgain].
func (r *Rec) Sent() { r.again, r.tried = r.again || r.tried, true }

// part is the record's partition, nil if it has none.
func (r *Rec) part() *part {
	if !r.placed {
		return nil
	}
	return r.To.part(r.id)
}

// put says which partition the record has.
func (r *Rec) put(id int32) { r.id, r.placed = id, true }

// recOf is right for every record of both clients, because nobody else has them.
func recOf(r *kgo.Record) *Rec { return (*Rec)(unsafe.Pointer(r)) }

// stamped is the context of a record that entered the usual client during a repair: it has ended,
// and the client gives the record back when it comes to send it. It is one for all, not the record
// itself, since the client may ask it of a record that has long had its fate, whose memory is
// another's by then.
type stamped struct{}

var always = make(chan struct{})

func init() { close(always) }

// Deadline implements context.Context.
func (stamped) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (stamped) Done() <-chan struct{} { return always }

// Err implements context.Context.
func (stamped) Err() error { return context.Canceled }

// Value implements context.Context.
func (stamped) Value(any) any { return nil }

// givenBack and unstamped are the contexts of records that are stamped and of those that are not.
var (
	givenBack context.Context = stamped{}
	unstamped                 = context.Background()
)

// setStamp stamps the record: the usual client must not send it.
func (r *Rec) setStamp(stamp uint64) {
	r.stamp = stamp
	r.Context, r.foreign = givenBack, true
}

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
