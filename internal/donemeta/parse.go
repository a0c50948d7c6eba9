package donemeta

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
	"strings"
	"unsafe"
)

// Ours tells whether a text looks like a done-set, of whatever it is bound to.
func Ours(text string) bool { return strings.HasPrefix(text, magic) }

// Parse reads a done-set and appends its runs to dst: increasing, apart from each other, at or
// above b.Base. Without an error dst may be unchanged: no text, no done-set. With one
// ([ErrNotOurs], [ErrDamaged], [ErrOther]) dst comes back as it was, and there is no done-set
// either: none of them is a reason to stop.
func Parse(text string, b Binding, dst []Run) ([]Run, error) {
	return parse(text, b, true, dst)
}

// ParseAt is [Parse] for one who was told of the text by a process that has checked its leader
// epoch.
func ParseAt(text string, topicID [16]byte, base int64, dst []Run) ([]Run, error) {
	return parse(text, Binding{TopicID: topicID, Base: base}, false, dst)
}

func parse(text string, b Binding, epochToo bool, dst []Run) ([]Run, error) {
	if text == "" {
		return dst, nil
	}
	if !Ours(text) {
		return dst, ErrNotOurs
	}
	if len(text) > MaxText || b.Base < 0 {
		return dst, ErrDamaged
	}
	buf := scratch.Get().(*[maxRaw]byte)
	defer scratch.Put(buf)
	chars := text[len(magic):]
	size, err := encoding.Decode(buf[:], unsafe.Slice(unsafe.StringData(chars), len(chars))) // which only reads them
	// The decoder skips line breaks. Nothing of ours has any.
	if err != nil || size <= headSize || encoding.EncodedLen(size) != len(chars) {
		return dst, ErrDamaged
	}
	raw := buf[:size]
	if binary.BigEndian.Uint32(raw) != crc32.Checksum(raw[4:], castagnoli) {
		return dst, ErrDamaged
	}
	found := Binding{
		TopicID:     [16]byte(raw[5:21]),
		Base:        int64(binary.BigEndian.Uint64(raw[21:])),
		LeaderEpoch: int32(binary.BigEndian.Uint32(raw[29:])),
	}
	if !epochToo {
		b.LeaderEpoch = found.LeaderEpoch
	}
	if found != b {
		return dst, ErrOther
	}
	runs, ok := dst, false
	switch raw[4] {
	case kindBitmap:
		runs, ok = parseBitmap(raw[headSize:], b.Base, dst)
	case kindRuns:
		runs, ok = parseRuns(raw[headSize:], b.Base, dst)
	}
	if !ok {
		return dst, ErrDamaged
	}
	return runs, nil
}

// parseBitmap takes only what writeBitmap makes: the first and the last byte have something to say.
func parseBitmap(body []byte, base int64, dst []Run) ([]Run, bool) {
	gap, n := uvarint(body)
	if n == 0 || n == len(body) {
		return dst, false
	}
	body = body[n:]
	if gap > math.MaxInt64 || int64(gap) > math.MaxInt64-base-8*int64(len(body)) || body[0]&1 == 0 || body[len(body)-1] == 0 {
		return dst, false
	}
	first := base + int64(gap)
	// A run is from one change of the bits to the next. 64 at a time; before is the bit below, open
	// a run that began in a word before.
	var before uint64
	start, open := int64(0), false
	for at := 0; at < len(body); at += 8 {
		word := uint64(0)
		if at+8 <= len(body) {
			word = binary.LittleEndian.Uint64(body[at:])
		} else {
			for i, c := range body[at:] {
				word |= uint64(c) << (8 * i)
			}
		}
		changes := word ^ (word<<1 | before)
		before = word >> 63
		offset := first + 8*int64(at)
		if open && changes != 0 {
			dst = append(dst, Run{start, offset + int64(bits.TrailingZeros64(changes)) - 1})
			changes &= changes - 1
			open = false
		}
		for changes&(changes-1) != 0 {
			from := bits.TrailingZeros64(changes)
			changes &= changes - 1
			dst = append(dst, Run{offset + int64(from), offset + int64(bits.TrailingZeros64(changes)) - 1})
			changes &= changes - 1
		}
		if changes != 0 {
			start, open = offset+int64(bits.TrailingZeros64(changes)), true
		}
	}
	if open {
		dst = append(dst, Run{start, first + 8*int64(len(body)) - 1})
	}
	return dst, true
}

func parseRuns(body []byte, base int64, dst []Run) ([]Run, bool) {
	before, next := len(dst), base
	for len(body) > 0 {
		gap, n := uvarint(body)
		length, m := uvarint(body[n:])
		// gap is 0 only for a run at the base: two that touch are one.
		if n == 0 || m == 0 || gap == 0 && len(dst) > before || gap >= uint64(math.MaxInt64-next) {
			return dst[:before], false
		}
		first := next + int64(gap)
		if length >= uint64(math.MaxInt64-first) {
			return dst[:before], false
		}
		dst = append(dst, Run{first, first + int64(length)})
		next = first + int64(length) + 1
		body = body[n+m:]
	}
	return dst, true
}

// uvarint reads a number in the one form that PutUvarint gives it. n is 0 for anything else.
func uvarint(b []byte) (v uint64, n int) {
	v, n = binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, 0
	}
	return v, n
}
