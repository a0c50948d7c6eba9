package wire

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Range is the sequence numbers First … First+Count-1.
type Range struct {
	First, Count uint64
}

const (
	tagAcked  = 1<<3 | 2
	tagFailed = 2<<3 | 2

	tagRangeFirst = 1<<3 | 0
	tagRangeCount = 2<<3 | 0
)

// AppendReports appends a DeliveryStreamResponse with these reports.
func AppendReports(dst []byte, acked []Range, failed []*sidecarpb.UnitFailure) []byte {
	size := 0
	for _, r := range acked {
		size += 2 + sizeRange(r)
	}
	for _, f := range failed {
		n := proto.Size(f)
		size += 1 + sizeUvarint(uint64(n)) + n
	}
	dst = append(dst, tagResponseReports)
	dst = appendUvarint(dst, uint64(size))
	for _, r := range acked {
		dst = append(dst, tagAcked, byte(sizeRange(r))) // at most 22 bytes
		dst = appendField(dst, tagRangeFirst, r.First)
		dst = appendField(dst, tagRangeCount, r.Count)
	}
	for _, f := range failed {
		dst = append(dst, tagFailed)
		dst = appendUvarint(dst, uint64(proto.Size(f)))
		// The only failure is a string that is not UTF-8, which the makers of failures exclude;
		// half a message would break the stream.
		var err error
		if dst, err = (proto.MarshalOptions{}).MarshalAppend(dst, f); err != nil {
			panic(fmt.Sprintf("wire: %v", err))
		}
	}
	return dst
}

func sizeRange(r Range) int { return sizeField(r.First) + sizeField(r.Count) }

// DecodeReports reads the body of a DeliveryReports message and calls acked and failed in its
// order. An error means that the message is malformed; what came before the bad place has been
// given out.
func DecodeReports(body []byte, acked func(Range), failed func(*sidecarpb.UnitFailure)) error {
	for i := 0; i < len(body); {
		tag, j := uvarint(body, i)
		if j < 0 {
			return errMalformed
		}
		switch tag {
		case tagAcked:
			start, end := embedded(body, j)
			r, ok := decodeRange(body, start, end)
			if !ok {
				return errMalformed
			}
			acked(r)
			i = end
		case tagFailed:
			start, end := embedded(body, j)
			if end < 0 {
				return errMalformed
			}
			f := new(sidecarpb.UnitFailure)
			if err := discard.Unmarshal(body[start:end], f); err != nil {
				return fmt.Errorf("wire: not a UnitFailure: %w", err)
			}
			failed(f)
			i = end
		default:
			if i = skip(body, j, tag); i < 0 {
				return errMalformed
			}
		}
	}
	return nil
}

func decodeRange(body []byte, start, end int) (r Range, ok bool) {
	if end < 0 {
		return r, false
	}
	b := body[start:end]
	for i := 0; i < len(b); {
		tag, j := uvarint(b, i)
		if j < 0 {
			return r, false
		}
		switch tag {
		case tagRangeFirst:
			r.First, i = uvarint(b, j)
		case tagRangeCount:
			r.Count, i = uvarint(b, j)
		default:
			i = skip(b, j, tag)
		}
		if i < 0 {
			return r, false
		}
	}
	return r, true
}
