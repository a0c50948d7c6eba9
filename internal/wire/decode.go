package wire

import (
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Units reads a Units message. Everything it yields aliases the message's buffer, except topic
// names.
type Units struct {
	FirstSequence uint64
	ExpiresAtNs   uint64
	// Count is the number of units in the message.
	Count int
	// Headers is the slab that the outputs' headers are appended to; set it to [:0] of an old one
	// to use that again.
	Headers []kgo.RecordHeader
	// MaxHeaders bounds the slab, if not 0: a header of two bytes on the wire takes 40 in memory.
	// See [Unit.HeadersLeft].
	MaxHeaders int

	body []byte
	pos  int
}

// Unit reads one unit.
type Unit struct {
	// Size is what the unit costs of the credit in bytes: its encoded length with tag and length.
	Size int
	// HasSource and Source are complete when Next has returned false: protobuf does not promise an
	// order of fields.
	HasSource bool
	Source    Source
	// HeadersLeft is how many more headers the unit may have; less than 0: it, or its message, has
	// too many, and the outputs lack some of theirs. The unit is to be refused.
	HeadersLeft int

	units *Units
	body  []byte
	pos   int
}

// Parse begins to read the body of a Units message. It finds the header fields, calls topic for
// each topic name (an error from it ends the parsing), and counts the units, all before the first
// unit is read. It keeps Headers and MaxHeaders.
func (u *Units) Parse(body []byte, topic func(index uint32, name string) error) error {
	*u = Units{Headers: u.Headers, MaxHeaders: u.MaxHeaders, body: body}
	for i := 0; i < len(body); {
		tag, j := uint64(body[i]), i+1
		if tag >= 0x80 {
			tag, j = uvarint(body, i)
		}
		if j < 0 {
			return errMalformed
		}
		var start int
		switch tag {
		case tagUnits:
			if _, i = short(body, j); i < 0 {
				_, i = embedded(body, j)
			}
			u.Count++
		case tagFirstSequence:
			u.FirstSequence, i = uvarint(body, j)
		case tagExpiresAt:
			u.ExpiresAtNs, i = uvarint(body, j)
		case tagTopics:
			if start, i = embedded(body, j); i >= 0 {
				if err := parseTopicName(body[start:i], topic); err != nil {
					return err
				}
			}
		default:
			i = skip(body, j, tag)
		}
		if i < 0 {
			return errMalformed
		}
	}
	return nil
}

func parseTopicName(b []byte, topic func(index uint32, name string) error) error {
	var index uint64
	var name []byte
	for i := 0; i < len(b); {
		tag, j := uint64(b[i]), i+1
		if tag >= 0x80 {
			tag, j = uvarint(b, i)
		}
		if j < 0 {
			return errMalformed
		}
		var start int
		switch tag {
		case tagNameIndex:
			index, i = uvarint(b, j)
		case tagName:
			if start, i = embedded(b, j); i >= 0 {
				name = b[start:i]
			}
		default:
			i = skip(b, j, tag)
		}
		if i < 0 {
			return errMalformed
		}
	}
	return topic(uint32(index), string(name))
}

// Next moves x to the next unit, or returns false at the end. It cannot fail: Parse has checked
// what it reads.
func (u *Units) Next(x *Unit) bool {
	for u.pos < len(u.body) {
		at := u.pos
		tag, i := uint64(u.body[at]), at+1
		if tag >= 0x80 {
			tag, i = uvarint(u.body, at)
		}
		if tag != tagUnits {
			u.pos = skip(u.body, i, tag)
			continue
		}
		start, end := short(u.body, i)
		if end < 0 {
			start, end = embedded(u.body, i)
		}
		// Field by field: a whole Unit would be made elsewhere, and copied.
		if x.units != u {
			x.units = u
		}
		x.Size, x.body, x.pos, x.HeadersLeft = end-at, u.body[start:end], 0, MaxUnitHeaders
		x.HasSource, x.Source = false, Source{}
		if u.MaxHeaders > 0 {
			x.HeadersLeft = min(x.HeadersLeft, u.MaxHeaders-len(u.Headers))
		}
		u.pos = end
		return true
	}
	return false
}

// Next reads the next output, or returns false at the end.
func (x *Unit) Next(out *Output) (bool, error) {
	for x.pos < len(x.body) {
		tag, i := uint64(x.body[x.pos]), x.pos+1
		if tag >= 0x80 {
			tag, i = uvarint(x.body, x.pos)
		}
		if i < 0 {
			return false, errMalformed
		}
		switch tag {
		case tagOutputs:
			start, end := short(x.body, i)
			if end < 0 {
				if start, end = embedded(x.body, i); end < 0 {
					return false, errMalformed
				}
			}
			x.pos = end
			return true, x.output(x.body[start:end], out)
		case tagSource:
			start, end := short(x.body, i)
			if end < 0 {
				start, end = embedded(x.body, i)
			}
			if end < 0 || !x.source(x.body[start:end]) {
				return false, errMalformed
			}
			x.pos = end
		default:
			if x.pos = skip(x.body, i, tag); x.pos < 0 {
				x.pos = len(x.body)
				return false, errMalformed
			}
		}
	}
	return false, nil
}

// source merges a Source message into the unit's: protobuf allows an embedded message in pieces.
func (x *Unit) source(b []byte) bool {
	x.HasSource = true
	var offset uint64
	for i := 0; i < len(b); {
		tag, j := uint64(b[i]), i+1
		if tag >= 0x80 {
			tag, j = uvarint(b, i)
		}
		if j < 0 {
			return false
		}
		switch tag {
		case tagEpoch:
			x.Source.Epoch, i = uvarint(b, j)
		case tagIndex:
			x.Source.Index, i = uvarint(b, j)
		case tagOffset:
			offset, i = uvarint(b, j)
			x.Source.Offset = int64(offset)
		default:
			i = skip(b, j, tag)
		}
		if i < 0 {
			return false
		}
	}
	return true
}

func (x *Unit) output(b []byte, out *Output) error {
	u := x.units
	*out = Output{Partition: -1}
	if out.usual(b) {
		return nil
	}
	*out = Output{Partition: -1}
	first := len(u.Headers)
	for i := 0; i < len(b); {
		tag, j := uint64(b[i]), i+1
		if tag >= 0x80 {
			tag, j = uvarint(b, i)
		}
		if j < 0 {
			return errMalformed
		}
		var v uint64
		var start int
		switch tag {
		case tagKey:
			if start, i = embedded(b, j); i >= 0 {
				out.Key = b[start:i:i]
			}
		case tagValue:
			if start, i = embedded(b, j); i >= 0 {
				out.Value = b[start:i:i]
			}
		case tagTopic:
			v, i = uvarint(b, j)
			out.Topic = uint32(v)
		case tagPartition:
			v, i = uvarint(b, j)
			out.Partition = int32(v)
		case tagTimestamp:
			v, i = uvarint(b, j)
			out.TimestampMs, out.HasTimestamp = int64(v), true
		case tagHeaders:
			if start, i = embedded(b, j); i >= 0 {
				if x.HeadersLeft--; x.HeadersLeft < 0 {
					x.HeadersLeft = -1
					continue
				}
				if err := u.header(b[start:i]); err != nil {
					return err
				}
			}
		default:
			i = skip(b, j, tag)
		}
		if i < 0 {
			return errMalformed
		}
	}
	if n := len(u.Headers); n > first {
		out.Headers = u.Headers[first:n:n]
	}
	return nil
}

// usual reads an output of the shape that most have: topic, key, value, in this order, and nothing
// else. False: it is another shape, and some of it may have been read.
func (out *Output) usual(b []byte) bool {
	i := 0
	if len(b) > 1 && b[0] == tagTopic {
		if b[1] >= 0x80 {
			return false
		}
		out.Topic, i = uint32(b[1]), 2
	}
	if i < len(b) && b[i] == tagKey {
		start, end := short(b, i+1)
		if end < 0 {
			return false
		}
		out.Key, i = b[start:end:end], end
	}
	if i == len(b) {
		return true
	}
	if b[i] != tagValue {
		return false
	}
	start, end := short(b, i+1)
	if end != len(b) {
		return false
	}
	out.Value = b[start:end:end]
	return true
}

func (u *Units) header(b []byte) error {
	var h kgo.RecordHeader
	for i := 0; i < len(b); {
		tag, j := uint64(b[i]), i+1
		if tag >= 0x80 {
			tag, j = uvarint(b, i)
		}
		if j < 0 {
			return errMalformed
		}
		var start int
		switch tag {
		case tagHeaderKey:
			if start, i = embedded(b, j); i >= 0 {
				// The string aliases the buffer like the bytes do, and is as immutable: nobody
				// writes to a received buffer before Free.
				h.Key = unsafe.String(unsafe.SliceData(b[start:i]), i-start)
			}
		case tagHeaderValue:
			if start, i = embedded(b, j); i >= 0 {
				h.Value = b[start:i:i]
			}
		default:
			i = skip(b, j, tag)
		}
		if i < 0 {
			return errMalformed
		}
	}
	u.Headers = append(u.Headers, h)
	return nil
}
