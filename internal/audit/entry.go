package audit

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
)

// entry is what is kept of a record: an input (output is inputItself), or an output of it.
type entry struct {
	part    int32 // input partition, as an index into plan.inputs
	output  int32
	count   int32 // of the input's outputs, as this one says; 0: it does not
	stamped bool  // the broker wrote time when it appended the record
	offset  int64 // of the input
	at      int64 // offset of the output in its partition
	time    int64 // of the record, in ms
	outPart int32 // output partition, as an index into plan.outputs
	cause   int32 // incident, as an index into incidents; 0: none was recorded
	key     key
}

const entryBytes = 64

// key is a hash of a record's key. The zero key is none. With 128 bits of two seeds, a billion keys
// share none by chance.
type key [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func keyOf(b []byte) key {
	if b == nil {
		return key{}
	}
	return key{maphash.Bytes(seeds[0], b), maphash.Bytes(seeds[1], b) | 1}
}

// bySource brings each input together with its outputs, the input first, an output's repeats behind
// it.
func bySource(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.offset, b.offset), cmp.Compare(a.output, b.output),
		cmp.Compare(a.outPart, b.outPart), cmp.Compare(a.at, b.at))
}

// byKey brings together what must be in order, in the order of the output partition.
func byKey(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.outPart, b.outPart), cmp.Compare(a.key[0], b.key[0]), cmp.Compare(a.key[1], b.key[1]), cmp.Compare(a.part, b.part),
		cmp.Compare(a.at, b.at))
}

// byTime brings together the repeats of one burst.
func byTime(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.cause, b.cause), cmp.Compare(a.time, b.time), cmp.Compare(a.part, b.part), cmp.Compare(a.offset, b.offset))
}

// An entry is written as a byte that says what follows, and the differences to the one before it:
// in a sorted file most are small.
const (
	withKey = 1 << iota
	withOutput
	withStamp
)

func appendEntry(dst []byte, e, before *entry) []byte {
	flags := byte(0)
	if e.key != (key{}) {
		flags |= withKey
	}
	if e.output != inputItself {
		flags |= withOutput
	}
	if e.stamped {
		flags |= withStamp
	}
	dst = append(dst, flags)
	dst = binary.AppendVarint(dst, int64(e.part)-int64(before.part))
	dst = binary.AppendVarint(dst, e.offset-before.offset)
	dst = binary.AppendVarint(dst, e.time-before.time)
	if flags&withOutput != 0 {
		dst = binary.AppendVarint(dst, int64(e.output)-int64(before.output))
		dst = binary.AppendVarint(dst, int64(e.outPart)-int64(before.outPart))
		dst = binary.AppendVarint(dst, e.at-before.at)
		dst = binary.AppendVarint(dst, int64(e.cause))
		dst = binary.AppendVarint(dst, int64(e.count))
	}
	if flags&withKey != 0 {
		dst = binary.BigEndian.AppendUint64(dst, e.key[0])
		dst = binary.BigEndian.AppendUint64(dst, e.key[1])
	}
	return dst
}

// readEntry reads the entry behind before. io.EOF: there is none.
func readEntry(r *bufio.Reader, before *entry) (e entry, err error) {
	flags, err := r.ReadByte()
	if err != nil {
		return e, err
	}
	number := func(base int64) int64 {
		n, failed := binary.ReadVarint(r)
		err = cmp.Or(err, failed)
		return base + n
	}
	e.part = int32(number(int64(before.part)))
	e.offset = number(before.offset)
	e.time = number(before.time)
	e.output, e.stamped = inputItself, flags&withStamp != 0
	if flags&withOutput != 0 {
		e.output = int32(number(int64(before.output)))
		e.outPart = int32(number(int64(before.outPart)))
		e.at = number(before.at)
		e.cause = int32(number(0))
		e.count = int32(number(0))
	}
	if flags&withKey != 0 {
		var raw [16]byte
		_, failed := io.ReadFull(r, raw[:])
		err = cmp.Or(err, failed)
		e.key = key{binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])}
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return e, err
}
