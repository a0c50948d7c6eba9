package pipeline

import (
	"bytes"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// original is an input as it came. A handler may change what it is given, field by field or in place (decrypting into in.Value is
// enough); the next attempt, and a dead letter that is written long after, must not carry that.
//
// The bytes are copied into memory that the lane uses again, and compared afterwards: no allocation for an input that was left
// alone. One that was changed gets memory of its own then, since outputs may point into what the handler made of it.
type original struct {
	rec     *kgo.Record
	was     kgo.Record
	bytes   []byte // key, value and the headers' values, one behind the other
	headers []producer.Header
}

// copybook is the memory that originals are copied to. It belongs to a lane's goroutine.
type copybook struct {
	bytes   []byte
	headers []producer.Header
}

const (
	maxCopyBytes   = 256 << 10 // of a copybook that is kept for the next input
	maxIdleBytes   = 64 << 10  // and while there is none
	maxCopyHeaders = 1 << 10
)

// reset makes room for the next input, or batch: the originals kept before are void.
func (c *copybook) reset() {
	if cap(c.bytes) > maxCopyBytes {
		c.bytes = nil
	}
	if cap(c.headers) > maxCopyHeaders {
		c.headers = nil
	}
	c.bytes, c.headers = c.bytes[:0], c.headers[:0]
}

// forget lets go of what the headers refer to.
func (c *copybook) forget() {
	if cap(c.bytes) > maxIdleBytes {
		c.bytes = nil
	}
	clear(c.headers[:cap(c.headers)])
	c.reset()
}

func (c *copybook) keep(o *original, m *consumer.Message) {
	r := m.Record
	o.rec, o.was = r, *r
	n, h := len(c.bytes), len(c.headers)
	c.bytes = append(append(c.bytes, r.Key...), r.Value...)
	if len(r.Headers) > 0 {
		c.headers = append(c.headers, r.Headers...)
		for i := range r.Headers {
			c.bytes = append(c.bytes, r.Headers[i].Value...)
		}
	}
	o.bytes, o.headers = c.bytes[n:], c.headers[h:]
}

// restore makes the input what it was. Only what differs is written: the consumer reads the record's coordinates meanwhile.
func (o *original) restore(m *consumer.Message) {
	if m.Record == o.rec && o.untouched() {
		return
	}
	if m.Record != o.rec {
		m.Record = o.rec
	}
	r := o.rec
	setBack(&r.Topic, o.was.Topic)
	setBack(&r.Partition, o.was.Partition)
	setBack(&r.Offset, o.was.Offset)
	setBack(&r.Timestamp, o.was.Timestamp)
	if o.untouched() {
		return
	}
	rest := slices.Clone(o.bytes)
	take := func(was []byte) []byte {
		if was == nil {
			return nil
		}
		n := len(was)
		b := rest[:n:n]
		rest = rest[n:]
		return b
	}
	r.Key, r.Value = take(o.was.Key), take(o.was.Value)
	r.Headers = nil
	if o.was.Headers != nil {
		r.Headers = make([]producer.Header, len(o.headers))
		for i, h := range o.headers {
			r.Headers[i] = producer.Header{Key: h.Key, Value: take(h.Value)}
		}
	}
}

func setBack[T comparable](field *T, was T) {
	if *field != was {
		*field = was
	}
}

// untouched compares the record with what was kept of it.
func (o *original) untouched() bool {
	r, rest := o.rec, o.bytes
	if r.Topic != o.was.Topic || r.Partition != o.was.Partition || r.Offset != o.was.Offset || r.Timestamp != o.was.Timestamp ||
		len(r.Headers) != len(o.headers) || (r.Headers == nil) != (o.was.Headers == nil) {
		return false
	}
	if !isStill(r.Key, o.was.Key, rest) {
		return false
	}
	if rest = rest[len(r.Key):]; !isStill(r.Value, o.was.Value, rest) {
		return false
	}
	rest = rest[len(r.Value):]
	for i := range r.Headers {
		now, was := &r.Headers[i], &o.headers[i]
		if now.Key != was.Key || !isStill(now.Value, was.Value, rest) {
			return false
		}
		rest = rest[len(was.Value):]
	}
	return true
}

// isStill tells that now is what was kept of was, at the front of kept.
func isStill(now, was, kept []byte) bool {
	return len(now) == len(was) && (now == nil) == (was == nil) && bytes.Equal(now, kept[:len(was)])
}
