package pipeline

import (
	"bytes"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// original is an input as it came. A handler may change what it is given, field by field or in
// place (decrypting into in.Value is enough); the next attempt, and a dead letter that is written
// long after, must not carry that.
//
// The bytes are copied into the lane's copies and compared afterwards: no allocation for an input
// that was left alone. One that was changed gets memory of its own then, since outputs may point
// into what the handler made of it. It holds places in the copies instead of slices, and lengths
// instead of what the record points to: every pointer written here costs each input while the
// garbage collector runs.
type original struct {
	rec        *kgo.Record
	timestamp  int64 // ms since 1970, as Kafka keeps it
	key, value int32 // lengths; noBytes for none
	headers    int32 // how many; noBytes for none
	at         int   // of the copies' bytes: key, value and the headers' values, one behind the other
	headersAt  int   // of the copies' headers
}

// noBytes is the length of what is nil: Kafka tells an empty key from none.
const noBytes = -1

// copies is memory that originals are copied to. It belongs to a lane's goroutine.
type copies struct {
	bytes   []byte
	headers []producer.Header
}

const (
	maxCopyBytes   = 256 << 10 // of copies that are kept for the next input
	maxIdleBytes   = 64 << 10  // and while there is none
	maxCopyHeaders = 1 << 10
)

// reset makes room for the next input, or batch: the originals kept before are void.
func (c *copies) reset() {
	if cap(c.bytes) > maxCopyBytes {
		c.bytes = nil
	}
	if cap(c.headers) > maxCopyHeaders {
		c.headers = nil
	}
	c.bytes, c.headers = c.bytes[:0], c.headers[:0]
}

// forget lets go of what the headers refer to.
func (c *copies) forget() {
	if cap(c.bytes) > maxIdleBytes {
		c.bytes = nil
	}
	clear(c.headers[:cap(c.headers)])
	c.reset()
}

func (c *copies) keep(o *original, m *consumer.Message) {
	r := m.Record
	if o.rec != r {
		o.rec = r
	}
	o.timestamp = r.Timestamp.UnixMilli()
	o.key, o.value, o.headers = lengthOf(r.Key), lengthOf(r.Value), lengthOf(r.Headers)
	o.at, o.headersAt = len(c.bytes), len(c.headers)
	c.bytes = append(append(c.bytes, r.Key...), r.Value...)
	if len(r.Headers) > 0 {
		c.headers = append(c.headers, r.Headers...)
		for i := range r.Headers {
			c.bytes = append(c.bytes, r.Headers[i].Value...)
		}
	}
}

func lengthOf[T any](s []T) int32 {
	if s == nil {
		return noBytes
	}
	return int32(len(s)) //nolint:gosec // a record that Kafka can hold
}

// restore makes the input what it was, but for where it was read: the consumer keeps that, and who
// calls a handler again uses putBack.
func (c *copies) restore(o *original, m *consumer.Message) {
	if m.Record != o.rec {
		m.Record = o.rec
	}
	if r := o.rec; r.Timestamp.UnixMilli() != o.timestamp {
		r.Timestamp = time.UnixMilli(o.timestamp)
	}
	if !c.untouched(o) {
		c.writeBack(o)
	}
}

// putBack makes the record say where it was read.
func putBack(r *kgo.Record, was consumer.Original) {
	r.Topic, r.Partition, r.Offset = was.Topic, was.Partition, was.Offset
}

// writeBack gives the record a copy of its own of what was kept.
func (c *copies) writeBack(o *original) {
	size := max(o.key, 0) + max(o.value, 0)
	headers := c.headersOf(o)
	for i := range headers {
		size += int32(len(headers[i].Value)) //nolint:gosec // a record that Kafka can hold
	}
	rest := slices.Clone(c.bytes[o.at:][:size])
	take := func(n int32) []byte {
		if n == noBytes {
			return nil
		}
		b := rest[:n:n]
		rest = rest[n:]
		return b
	}
	r := o.rec
	r.Key, r.Value = take(o.key), take(o.value)
	r.Headers = nil
	if o.headers != noBytes {
		r.Headers = make([]producer.Header, len(headers))
		for i, h := range headers {
			r.Headers[i] = producer.Header{Key: h.Key, Value: take(lengthOf(h.Value))}
		}
	}
}

func (c *copies) headersOf(o *original) []producer.Header {
	return c.headers[o.headersAt:][:max(o.headers, 0)]
}

// untouched compares the record's key, value and headers with what was kept of them.
func (c *copies) untouched(o *original) bool {
	r, rest := o.rec, c.bytes[o.at:]
	if lengthOf(r.Key) != o.key || lengthOf(r.Value) != o.value || lengthOf(r.Headers) != o.headers {
		return false
	}
	if !bytes.Equal(r.Key, rest[:len(r.Key)]) {
		return false
	}
	rest = rest[len(r.Key):]
	if !bytes.Equal(r.Value, rest[:len(r.Value)]) {
		return false
	}
	if o.headers <= 0 {
		return true
	}
	rest = rest[len(r.Value):]
	for i, was := range c.headersOf(o) {
		now := &r.Headers[i]
		n := len(was.Value)
		if now.Key != was.Key || lengthOf(now.Value) != lengthOf(was.Value) || !bytes.Equal(now.Value, rest[:n]) {
			return false
		}
		rest = rest[n:]
	}
	return true
}
