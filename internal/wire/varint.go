package wire

import (
	"errors"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
)

// errMalformed is a message that is not protobuf, or whose lengths do not fit.
var errMalformed = errors.New("wire: malformed message")

// uvarint reads a varint at b[i:] and returns the index behind it, negative if there is none. It is
// too large to be inlined: the loops over fields read one-byte tags themselves, and come here for
// longer ones.
func uvarint(b []byte, i int) (uint64, int) {
	var v uint64
	for shift := uint(0); uint(i) < uint(len(b)); shift += 7 {
		c := b[i]
		i++
		if c < 0x80 {
			if shift > 63 || (shift == 63 && c > 1) {
				return 0, -1 // more than 64 bits
			}
			return v | uint64(c)<<shift, i
		}
		v |= uint64(c&0x7f) << shift
	}
	return 0, -1
}

// embedded reads a length-delimited value at b[i:]: it is b[start:end]; end is negative if it does
// not fit. The length is compared, never trusted: a hostile one allocates nothing.
func embedded(b []byte, i int) (start, end int) {
	n, i := uvarint(b, i)
	if i < 0 || n > uint64(len(b)-i) {
		return 0, -1
	}
	return i, i + int(n)
}

// short is embedded for a length of one or two bytes, where it is inlined. Another one, and a value
// that does not fit, is left to embedded: end is negative.
func short(b []byte, i int) (start, end int) {
	if i+1 >= len(b) {
		return 0, -1
	}
	n, start := int(b[i]), i+1
	if n >= 0x80 {
		n, start = n&0x7f|int(b[start])<<7, i+2
	}
	if n >= 1<<14 || n > len(b)-start {
		return 0, -1
	}
	return start, start + n
}

// skip passes over the value of an unknown field whose tag ended at i.
func skip(b []byte, i int, tag uint64) int {
	num, typ := protowire.DecodeTag(tag)
	if num < protowire.MinValidNumber {
		return -1
	}
	n := protowire.ConsumeFieldValue(num, typ, b[i:])
	if n < 0 {
		return -1
	}
	return i + n
}

// sizeUvarint is the encoded length of v: one byte for each begun 7 bits.
func sizeUvarint(v uint64) int { return int(9*uint32(bits.Len64(v))+64) / 64 }

func appendUvarint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}
