package sidecar

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/mem"

	"github.com/ackmark/ackmark/internal/ledger"
	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/internal/assigned"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/internal/gate"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// frame is one received Units message: its buffer, and slabs for its units and records, whose keys
// and values alias the buffer.
//
// Who owns it when:
//   - the receiving goroutine until the last record is handed to kgo, and then nobody alone:
//   - live counts the receiver and each record not ended; the one who brings it to 0 frees the
//     buffer;
//   - holds counts "live" and "reports not taken"; the one who brings it to 0 puts the frame back
//     into the pool;
//   - the ledger.Message in it belongs to session.mu, once it is admitted.
//
// A frame of a session that ended is never recycled: nobody takes its reports. The garbage
// collector gets it.
type frame struct {
	ledger.Message

	session *session
	sink    *sink
	buf     mem.Buffer
	units   []unit
	recs    []outRec
	headers []kgo.RecordHeader
	spans   map[*outRec]trace.Span // of records that carry a sampled context; written before the first goes to kgo

	live   atomic.Int32
	holds  atomic.Int32
	pinned int64

	received time.Time
	timed    bool        // what it took is recorded in a histogram
	expires  gate.Expiry // of its units
}

type unit struct {
	of      *assigned.Partition // nil without an input, or of an assignment that is not held
	firstR  int32               // its records are recs[firstR : firstR+nrecs]
	nrecs   int32               // outputs, or 0 if the unit was refused before it became records
	outputs int32
	left    atomic.Int32           // outputs not ended, of a unit that has several
	failure *sidecarpb.UnitFailure // the first one; session.mu once the unit is admitted
	source  bool
	src     wire.Source
}

// outRec is a record on its way. kgo carries a pointer to its first field, from which its promise
// finds the rest: no closure per record.
type outRec struct {
	outlet.Rec
	frame  *frame // nil for an emit
	emit   *emit
	topic  *topics.Topic
	flow   *flows.Flow   // of the app and the topic
	queue  *topics.Queue // set when the record is given its partition, by the goroutine that holds kgo's lock on that partition's buffer
	size   int64
	unit   int32
	output int32
}

// recordOf is right for every record of the sidecar's client, because all of them are outRecs and
// nobody else has the client.
func recordOf(r *kgo.Record) *outRec { return (*outRec)(unsafe.Pointer(r)) }

const (
	// recordCost is what a record is counted for beside its bytes, in the meters that bound memory.
	recordCost = 64
	headerCost = 128  // of an emit: two structs and what they point to, for 2 bytes on the wire
	maxPooled  = 4096 // records; larger frames go to the garbage collector
)

// frames are those that are not in use, by the room that they have: a frame of one unit that holds
// room for hundreds would take their memory for as long as Kafka takes, with thousands beside it.
var frames [maxRoom + 1]sync.Pool

const maxRoom = 6 // of 4,096 records

// roomOf is the pool of frames with room for n: 1, 4, 16, 64, 256, 1,024 or 4,096 of them.
func roomOf(n int) int { return (bits.Len(uint(max(n, 1)-1)) + 1) / 2 }

// newFrame is a frame with room for about so many records.
func newFrame(s *session, k *sink, records int) *frame {
	f, _ := frames[min(roomOf(records), maxRoom)].Get().(*frame)
	if f == nil {
		f = new(frame)
	}
	f.session, f.sink, f.Owner = s, k, f
	return f
}

func (f *frame) recycle() {
	if cap(f.recs) > maxPooled || cap(f.headers) > maxPooled || cap(f.units) > maxPooled {
		return
	}
	clear(f.recs) // or a pooled frame would keep topics and sessions alive
	clear(f.headers)
	for i := range f.units {
		f.units[i].of, f.units[i].failure = nil, nil
	}
	f.session, f.sink, f.recs, f.headers, f.units = nil, nil, f.recs[:0], f.headers[:0], f.units[:0]
	frames[roomOf(max(cap(f.units), cap(f.recs)))].Put(f)
}

func (f *frame) hold(n int32) {
	if f.holds.Add(-n) == 0 {
		f.recycle()
	}
}

// unref counts records (and the receiver) that need the buffer no more.
func (f *frame) unref(n int32) {
	if f.live.Add(-n) != 0 {
		return
	}
	if f.spans != nil {
		f.endSpans()
	}
	f.buf.Free()
	f.buf = nil
	f.sink.gate.Leave(&f.expires)
	f.sink.unpin(f)
	f.hold(1)
}

// shape is what a stream's messages are like.
type shape struct {
	more int           // outputs of a unit beyond one, about: as in the last message
	due  telemetry.Due // those that tell how long they took: decided before that is known
}

// decode makes a frame of the message that was parsed last.
func (d *stream) decode(k *sink, maxRecords int) (*frame, error) {
	n := d.units.Count
	records := min(n*(1+d.shape.more), maxPooled)
	f := newFrame(d.session, k, max(n, records))
	err := f.decode(&d.units, &d.names, records, maxRecords)
	d.shape.more = (len(f.recs)+n-1)/n - 1
	f.timed = d.shape.due.At(f.received)
	return f, err
}

// decode fills the frame from the parsed message. An error means that the message cannot be
// understood; a unit that can be understood and not be produced gets a failure. About so many
// records are expected.
func (f *frame) decode(us *wire.Units, names *topics.Names, records, maxRecords int) error {
	f.Begin(us.FirstSequence, us.Count)
	f.grow(us.Count, records)
	us.Headers, us.MaxHeaders = f.headers[:0], wire.MaxMessageHeaders
	f.received = time.Now()
	var x wire.Unit
	for us.Next(&x) {
		if err := f.decodeUnit(&x, names, f.received); err != nil {
			return err
		}
		if len(f.recs) > maxRecords+wire.MaxUnitOutputs {
			return fmt.Errorf("more than %d records in one message, the credit is %d", len(f.recs)-1, maxRecords)
		}
	}
	f.headers = us.Headers
	f.fit()
	f.live.Store(int32(len(f.recs)) + 1)
	f.holds.Store(2)
	return nil
}

func (f *frame) grow(units, records int) {
	if cap(f.units) < units || cap(f.units) > slack*units {
		f.units = make([]unit, 0, units)
	}
	if cap(f.recs) < records {
		f.recs = make([]outRec, 0, records)
	}
	if cap(f.headers) > headersOfUnit*units {
		f.headers = nil
	}
}

// headersOfUnit is for how many headers of each unit a frame may have room that it does not need.
const headersOfUnit = 48

// slack is how much more room than what it holds a frame may have.
const slack = 8

// fit gives up the room of records that did not come. Nobody points to the others yet.
func (f *frame) fit() {
	if n := len(f.recs); cap(f.recs) > slack*max(n, 1) {
		f.recs = append(make([]outRec, 0, n), f.recs...)
	}
}

func (f *frame) decodeUnit(x *wire.Unit, names *topics.Names, now time.Time) error {
	index := len(f.units)
	f.units = f.units[:index+1]
	u := &f.units[index]
	u.of, u.failure, u.firstR, u.outputs = nil, nil, int32(len(f.recs)), 0
	var out wire.Output
	for {
		ok, err := x.Next(&out)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if u.failure == nil {
			u.failure = f.addOutput(u, int32(index), &out, names, now)
		}
		if u.outputs++; u.outputs > wire.MaxUnitOutputs && u.failure == nil {
			u.failure = failure(0, "", -1, wire.CodeUnitTooLarge, fmt.Sprintf("more than %d outputs from one input: split them over several inputs", wire.MaxUnitOutputs))
		}
	}
	if x.HeadersLeft < 0 && u.failure == nil {
		u.failure = failure(0, "", -1, wire.CodeUnitTooLarge, fmt.Sprintf("more than %d headers from one input, or %d in one message: "+
			"make fewer, or split them over several inputs", wire.MaxUnitHeaders, wire.MaxMessageHeaders))
	}
	u.source, u.src = x.HasSource, x.Source
	if u.outputs > 1 {
		u.left.Store(u.outputs)
	}
	if u.failure != nil {
		f.recs = f.recs[:u.firstR] // all of the unit, or nothing
	}
	u.nrecs = int32(len(f.recs)) - u.firstR
	f.Add(ledger.Cost{Bytes: int64(x.Size), Records: int64(max(u.outputs, 1))})
	return nil
}

func (f *frame) addOutput(u *unit, index int32, out *wire.Output, names *topics.Names, now time.Time) *sidecarpb.UnitFailure {
	st := names.At(out.Topic)
	if st == nil {
		return failure(u.outputs, "", out.Partition, wire.CodeInvalidRecord, fmt.Sprintf("topic index %d has no name on this stream: send it before it is used", out.Topic))
	}
	if st.Refuse != nil {
		return &sidecarpb.UnitFailure{Output: uint32(u.outputs), Error: st.Refuse, Partition: out.Partition}
	}
	if ms := out.TimestampMs; ms < wire.MinTimeMs || ms > wire.MaxTimeMs {
		return &sidecarpb.UnitFailure{Output: uint32(u.outputs), Topic: st.Topic.Name, Partition: out.Partition, Error: badTime(ms)}
	}
	if out.Partition < -1 {
		return failure(u.outputs, st.Topic.Name, -1, wire.CodeInvalidRecord, fmt.Sprintf("partition %d: a partition is 0 or more, or absent", out.Partition))
	}
	n := len(f.recs)
	if n == cap(f.recs) {
		f.recs = slices.Grow(f.recs, max(n, 1))
	}
	f.recs = f.recs[:n+1]
	r := &f.recs[n] // zero, as recycle left it: filled where it is, and not made elsewhere and copied
	r.Topic, r.Key, r.Value, r.Headers = st.Topic.Name, out.Key, out.Value, out.Headers
	r.Timestamp, r.Partition = now, out.Partition
	r.Promise, r.To, r.Explicit = f.sink.promise, st.Topic.Out, out.Partition >= 0
	r.frame, r.topic, r.flow, r.unit, r.output = f, st.Topic, st.Flow, index, u.outputs
	r.size = int64(len(out.Key)+len(out.Value)) + recordCost
	if out.HasTimestamp {
		r.Timestamp = out.Timestamp()
	}
	return nil
}

func badTime(ms int64) *sidecarpb.Error {
	return wire.Errorf(wire.CodeInvalidRecord, "timestamp_ms %d is not within the years 1677 to 2262: correct it, or leave it out", ms)
}

func failure(output int32, topic string, partition int32, code, message string) *sidecarpb.UnitFailure {
	return &sidecarpb.UnitFailure{Output: uint32(output), Topic: topic, Partition: partition, Error: wire.Errorf(code, "%s", message)}
}

// expiredFailure is that of a unit that was not begun before its time ran out: the client may have
// sent it another way by now.
func expiredFailure() *sidecarpb.UnitFailure {
	return failure(0, "", -1, wire.CodeExpired, "expires_at had passed when the sidecar came to it")
}

// errViolation is a client that does not keep the protocol.
var errViolation = errors.New("protocol violation")

// violation is an error that says what the client did wrong, or nil.
func violation(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errViolation, err)
}
