package donemeta

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"sync"
)

// Run is a run of done offsets, both ends included. It may span offsets that do not exist.
type Run struct{ First, Last int64 }

// Binding is what a done-set belongs to. Applied to anything else it would name other records.
type Binding struct {
	TopicID [16]byte
	// Base is the committed offset.
	Base int64
	// LeaderEpoch is the one committed with it, -1 for none.
	LeaderEpoch int32
}

const magic = "am1."

// Bounds, by construction.
const (
	// MaxText is how many characters a broker takes by default (offset.metadata.max.bytes).
	MaxText = 4096

	maxRaw   = (MaxText - 4) * 6 / 8 // 4: the magic
	headSize = 4 + 1 + 16 + 8 + 4
	maxBody  = maxRaw - headSize

	// MaxSpan is how many offsets from the base on fit, whichever of them are done.
	MaxSpan = (maxBody - spanVarint) * 8
	// MaxRuns is how many runs fit, wherever they are.
	MaxRuns = maxBody / (2 * binary.MaxVarintLen64)

	spanVarint = 3 // bytes of any number up to MaxSpan
)

const (
	kindBitmap = 1 + iota
	kindRuns
)

// Why a text is no done-set.
var (
	// ErrNotOurs: another tool wrote it, or a version of Ackmark that this one does not know.
	ErrNotOurs = errors.New("donemeta: not a done-set")
	// ErrDamaged: it was ours, and something changed it.
	ErrDamaged = errors.New("donemeta: damaged done-set")
	// ErrOther: it belongs to another committed offset, leader epoch or topic.
	ErrOther = errors.New("donemeta: the done-set of another commit")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// scratch keeps buffers that the checksum makes escape to the heap.
var scratch = sync.Pool{New: func() any { return new([maxRaw]byte) }}

var encoding = base64.RawURLEncoding.Strict()

// Append appends the text of a done-set to dst, and tells how many of the runs it holds: all of
// them, or as many of the first as fit. For none, it appends nothing. It allocates only to grow
// dst.
//
// Runs increase and do not overlap. One that breaks this, or lies below the base, is left out with
// all that follow: too little is a repeat, too much would be a loss.
func Append(dst []byte, b Binding, runs []Run) (text []byte, kept int) {
	runs = runs[:sound(b.Base, runs)]
	if len(runs) == 0 {
		return dst, 0
	}
	raw := scratch.Get().(*[maxRaw]byte)
	defer scratch.Put(raw)
	body := raw[headSize:]
	kept = bitmapFit(b.Base, runs)
	kind, size := byte(kindBitmap), bitmapSize(b.Base, runs[:kept])
	// Two bytes a run are the least that runs take: where that is more than the bitmap, they need
	// no look.
	if kept < len(runs) || 2*len(runs) < size {
		if n, s := writeRuns(body, b.Base, runs); n > kept || n == kept && s < size {
			kind, kept, size = kindRuns, n, s
		}
	}
	if kind == kindBitmap {
		clear(body[:size])
		writeBitmap(body, b.Base, runs[:kept])
	}
	raw[4] = kind
	copy(raw[5:], b.TopicID[:])
	binary.BigEndian.PutUint64(raw[21:], uint64(b.Base))
	binary.BigEndian.PutUint32(raw[29:], uint32(b.LeaderEpoch))
	all := raw[:headSize+size]
	binary.BigEndian.PutUint32(all, crc32.Checksum(all[4:], castagnoli))
	dst = append(dst, magic...)
	return encoding.AppendEncode(dst, all), kept
}

// sound counts the first runs that are in order, at or above the base, and below the last offset
// there is.
func sound(base int64, runs []Run) int {
	if base < 0 {
		return 0
	}
	for i, next := 0, base; i < len(runs); i++ {
		if runs[i].First < next || runs[i].Last < runs[i].First || runs[i].Last == math.MaxInt64 {
			return i
		}
		next = runs[i].Last + 1
	}
	return len(runs)
}

// bitmapFit counts the first runs that lie within MaxSpan.
func bitmapFit(base int64, runs []Run) int {
	if runs[len(runs)-1].Last-base < MaxSpan { // base is not negative: no overflow
		return len(runs)
	}
	low, high := 0, len(runs)-1
	for low < high {
		mid := (low + high) / 2
		if runs[mid].Last-base < MaxSpan {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

func bitmapSize(base int64, runs []Run) int {
	if len(runs) == 0 {
		return math.MaxInt
	}
	first := runs[0].First
	return varintSize(uint64(first-base)) + int((runs[len(runs)-1].Last-first)/8) + 1
}

func writeBitmap(body []byte, base int64, runs []Run) {
	first := runs[0].First
	bits := body[binary.PutUvarint(body, uint64(first-base)):]
	for _, r := range runs {
		from, to := uint(r.First-first), uint(r.Last-first)
		if from == to {
			bits[from/8] |= 1 << (from % 8)
			continue
		}
		head, tail := byte(0xff)<<(from%8), byte(0xff)>>(7-to%8)
		if from/8 == to/8 {
			bits[from/8] |= head & tail
			continue
		}
		bits[from/8] |= head
		for i := from/8 + 1; i < to/8; i++ {
			bits[i] = 0xff
		}
		bits[to/8] |= tail
	}
}

// writeRuns writes as many runs as fit.
func writeRuns(body []byte, base int64, runs []Run) (kept, size int) {
	next := base
	for kept < len(runs) {
		r, n := runs[kept], 1
		for kept+n < len(runs) && runs[kept+n].First == r.Last+1 { // two that touch are one
			r.Last = runs[kept+n].Last
			n++
		}
		gap, length := uint64(r.First-next), uint64(r.Last-r.First)
		if size+varintSize(gap)+varintSize(length) > maxBody {
			break
		}
		size += binary.PutUvarint(body[size:], gap)
		size += binary.PutUvarint(body[size:], length)
		next = r.Last + 1
		kept += n
	}
	return kept, size
}

func varintSize(v uint64) int {
	n := 1
	for v >= 1<<7 {
		v >>= 7
		n++
	}
	return n
}

// Fits tells whether any done-set of so many runs within so many offsets from the base on can be
// written whole.
func Fits(span int64, runs int) bool {
	if span <= MaxSpan || runs <= MaxRuns {
		return true
	}
	if runs > maxBody/2 {
		return false
	}
	// The numbers of all runs together are at most the span, so only span/128 of them can take a
	// second byte, only span/128² a third …
	numbers := int64(2 * runs)
	size := numbers
	for rest := span >> 7; rest > 0 && size <= maxBody; rest >>= 7 {
		size += min(numbers, rest)
	}
	return size <= maxBody
}
