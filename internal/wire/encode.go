package wire

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Source is the input of a unit. Epoch 0: the unit has none.
type Source struct {
	Epoch  uint64
	Index  uint64
	Offset int64
}

// Output is one record of a unit.
type Output struct {
	// Topic is an index into the stream's topic names.
	Topic uint32
	// Partition is -1 if it is to be chosen from the key.
	Partition int32
	// Key and Value: nil is Kafka's null, empty is empty.
	Key, Value []byte
	Headers    []kgo.RecordHeader
	// TimestampMs is in milliseconds since 1970, if HasTimestamp; otherwise it is the time at which
	// the sidecar gets the record. An encoder writes a TimestampMs other than 0 in any case.
	TimestampMs  int64
	HasTimestamp bool
}

// TopicName gives a topic index its name.
type TopicName struct {
	Index uint32
	Name  string
}

// UnitsHeader is what a Units message says beside its units.
type UnitsHeader struct {
	FirstSequence uint64
	// ExpiresAtNs is in boot-time nanoseconds; 0: never.
	ExpiresAtNs uint64
	Topics      []TopicName
}

// Tags within Units, Unit, Source, Output, Header and TopicName.
const (
	tagFirstSequence = 1<<3 | 0
	tagExpiresAt     = 2<<3 | 0
	tagTopics        = 3<<3 | 2
	tagUnits         = 4<<3 | 2

	tagSource  = 1<<3 | 2
	tagOutputs = 2<<3 | 2

	tagEpoch  = 1<<3 | 0
	tagIndex  = 2<<3 | 0
	tagOffset = 3<<3 | 0

	tagTopic     = 1<<3 | 0
	tagPartition = 2<<3 | 0
	tagKey       = 3<<3 | 2
	tagValue     = 4<<3 | 2
	tagHeaders   = 5<<3 | 2
	tagTimestamp = 6<<3 | 0

	tagHeaderKey   = 1<<3 | 2
	tagHeaderValue = 2<<3 | 2

	tagNameIndex = 1<<3 | 0
	tagName      = 2<<3 | 2
)

// lengthGuess is the room that OpenUnit leaves for the unit's length: two bytes hold what units
// usually are, 128 to 16383 bytes.
const lengthGuess = 2

// OpenUnit begins a unit at the end of dst. After its outputs, [CloseUnit] must be called with what
// len(dst) was before.
func OpenUnit(dst []byte, src Source) []byte {
	dst = append(dst, tagUnits, 0, 0)
	if src.Epoch == 0 {
		return dst
	}
	size := sizeField(src.Epoch) + sizeField(src.Index) + sizeField(uint64(src.Offset))
	dst = append(dst, tagSource, byte(size)) // at most 33 bytes
	dst = appendField(dst, tagEpoch, src.Epoch)
	dst = appendField(dst, tagIndex, src.Index)
	return appendField(dst, tagOffset, uint64(src.Offset))
}

// AppendOutput appends an output to the open unit.
func AppendOutput(dst []byte, out *Output) []byte {
	dst = append(dst, tagOutputs)
	dst = appendUvarint(dst, uint64(sizeOutput(out)))
	dst = appendField(dst, tagTopic, uint64(out.Topic))
	if out.Partition >= 0 {
		dst = append(dst, tagPartition)
		dst = appendUvarint(dst, uint64(out.Partition))
	}
	dst = appendBytes(dst, tagKey, out.Key)
	dst = appendBytes(dst, tagValue, out.Value)
	for i := range out.Headers {
		dst = appendHeader(dst, &out.Headers[i])
	}
	if out.hasTimestamp() {
		dst = appendUvarint(append(dst, tagTimestamp), uint64(out.TimestampMs))
	}
	return dst
}

func (out *Output) hasTimestamp() bool { return out.HasTimestamp || out.TimestampMs != 0 }

// SetTimestamp gives the output a record's time; the zero Time is none.
func (out *Output) SetTimestamp(t time.Time) {
	out.TimestampMs, out.HasTimestamp = 0, !t.IsZero()
	if out.HasTimestamp {
		out.TimestampMs = t.UnixMilli()
	}
}

// Timestamp returns the record's time; the zero Time if it has none.
func (out *Output) Timestamp() time.Time {
	if !out.HasTimestamp {
		return time.Time{}
	}
	return time.UnixMilli(out.TimestampMs)
}

// CloseUnit ends the unit that was opened at start; dst[start:] is then the whole unit, as it
// stands in a Units message, and its length is what the unit costs of the credit in bytes.
func CloseUnit(dst []byte, start int) []byte {
	body := start + 1 + lengthGuess
	size := len(dst) - body
	need := sizeUvarint(uint64(size))
	switch {
	case need < lengthGuess:
		copy(dst[start+1+need:], dst[body:])
		dst = dst[:len(dst)-1]
	case need > lengthGuess:
		var more [8]byte
		dst = append(dst, more[:need-lengthGuess]...)
		copy(dst[start+1+need:], dst[body:body+size])
	}
	appendUvarint(dst[:start+1], uint64(size))
	return dst
}

// AppendUnitsHeader appends the beginning of a DeliveryStreamRequest with units; exactly unitBytes
// bytes of closed units must follow it on the wire.
func AppendUnitsHeader(dst []byte, h *UnitsHeader, unitBytes int) []byte {
	size := sizeField(h.FirstSequence) + sizeField(h.ExpiresAtNs) + unitBytes
	for i := range h.Topics {
		n := sizeTopicName(&h.Topics[i])
		size += 1 + sizeUvarint(uint64(n)) + n
	}
	dst = append(dst, tagRequestUnits)
	dst = appendUvarint(dst, uint64(size))
	dst = appendField(dst, tagFirstSequence, h.FirstSequence)
	dst = appendField(dst, tagExpiresAt, h.ExpiresAtNs)
	for i := range h.Topics {
		t := &h.Topics[i]
		dst = append(dst, tagTopics)
		dst = appendUvarint(dst, uint64(sizeTopicName(t)))
		dst = appendField(dst, tagNameIndex, uint64(t.Index))
		dst = appendString(dst, tagName, t.Name)
	}
	return dst
}

func appendHeader(dst []byte, h *kgo.RecordHeader) []byte {
	dst = append(dst, tagHeaders)
	dst = appendUvarint(dst, uint64(sizeHeader(h)))
	dst = appendString(dst, tagHeaderKey, h.Key)
	return appendBytes(dst, tagHeaderValue, h.Value)
}

func sizeOutput(out *Output) int {
	n := sizeField(uint64(out.Topic)) + sizeBytes(out.Key) + sizeBytes(out.Value)
	if out.hasTimestamp() {
		n += 1 + sizeUvarint(uint64(out.TimestampMs))
	}
	if out.Partition >= 0 {
		n += 1 + sizeUvarint(uint64(out.Partition))
	}
	for i := range out.Headers {
		h := sizeHeader(&out.Headers[i])
		n += 1 + sizeUvarint(uint64(h)) + h
	}
	return n
}

func sizeHeader(h *kgo.RecordHeader) int { return sizeString(h.Key) + sizeBytes(h.Value) }

func sizeTopicName(t *TopicName) int { return sizeField(uint64(t.Index)) + sizeString(t.Name) }

// Fields without explicit presence are left out when they are zero; optional bytes when they are
// nil.

func sizeField(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + sizeUvarint(v)
}

func appendField(dst []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return appendUvarint(append(dst, tag), v)
}

func sizeString(s string) int {
	if s == "" {
		return 0
	}
	return 1 + sizeUvarint(uint64(len(s))) + len(s)
}

func appendString(dst []byte, tag byte, s string) []byte {
	if s == "" {
		return dst
	}
	return append(appendUvarint(append(dst, tag), uint64(len(s))), s...)
}

func sizeBytes(b []byte) int {
	if b == nil {
		return 0
	}
	return 1 + sizeUvarint(uint64(len(b))) + len(b)
}

func appendBytes(dst []byte, tag byte, b []byte) []byte {
	if b == nil {
		return dst
	}
	return append(appendUvarint(append(dst, tag), uint64(len(b))), b...)
}
