package verify

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// ID is what a generated value says about itself.
type ID struct {
	Global uint64 // 0, 1, 2 … in the order of generation
	Key    uint32
	Seq    uint64 // 0, 1, 2 … within the key
	Out    int    // which of its input's outputs a value is; 0 in inputs
}

// ErrDamaged is in the error of a value that is a generated one, but not as it was generated.
var ErrDamaged = errors.New("damaged value")

// String names an id the way values do.
func (id ID) String() string {
	return fmt.Sprintf("id=%d key=%d seq=%d out=%d", id.Global, id.Key, id.Seq, id.Out)
}

// MaxID bounds the global ids that Parse takes: a corrupt or foreign value must not make a checker
// allocate a set for it.
const MaxID = 1 << 36

// KeyBytes is the record key that belongs to a key number.
func KeyBytes(key uint32) []byte { return strconv.AppendUint([]byte("key-"), uint64(key), 10) }

// isKey tells whether a record key is that of a key number.
func isKey(record []byte, key uint32) bool {
	var buf [20]byte
	return bytes.Equal(record, strconv.AppendUint(append(buf[:0], "key-"...), uint64(key), 10))
}

// AppendValue appends a record value: readable, on one line, recognisable after upper-casing.
//
//	id=1042 key=17 seq=42 out=0 sum=9f3a21bc text…
//
// The sum covers id, key, seq and text, whatever its case, so that a value put together from two
// records does not pass. Text with anything but ASCII has no fixed upper case, hence sum 0: not
// checked.
func AppendValue(dst []byte, id ID, text []byte) []byte {
	dst = append(dst, "id="...)
	dst = strconv.AppendUint(dst, id.Global, 10)
	dst = append(dst, " key="...)
	dst = strconv.AppendUint(dst, uint64(id.Key), 10)
	dst = append(dst, " seq="...)
	dst = strconv.AppendUint(dst, id.Seq, 10)
	dst = append(dst, " out="...)
	dst = strconv.AppendInt(dst, int64(id.Out), 10)
	dst = append(dst, " sum="...)
	dst = fmt.Appendf(dst, "%08x ", sum(id, text))
	return append(dst, text...)
}

// WithOut returns a copy of a value that is marked as its input's output number out, for handlers
// that make several. What is no generated value comes back unchanged.
func WithOut(value []byte, out int) []byte {
	id, text, err := split(value)
	if err != nil {
		return bytes.Clone(value)
	}
	id.Out = out
	return AppendValue(make([]byte, 0, len(value)+4), id, text)
}

// Parse reads what a value, upper-cased or not, says about itself. The error tells why it is no
// generated value, or is [ErrDamaged].
func Parse(value []byte) (ID, error) {
	id, _, err := split(value)
	return id, err
}

func split(value []byte) (id ID, text []byte, err error) {
	rest := value
	field := func(name string, base uint64) uint64 {
		if err != nil {
			return 0
		}
		word, after, _ := bytes.Cut(rest, []byte{' '})
		rest = after
		if len(word) <= len(name) || !bytes.EqualFold(word[:len(name)], []byte(name)) {
			err = fmt.Errorf("no field %q in %.60q", name, value)
			return 0
		}
		n, ok := number(word[len(name):], base)
		if !ok {
			err = fmt.Errorf("field %q of %.60q is no number", name, value)
		}
		return n
	}
	id.Global = field("id=", 10)
	key := field("key=", 10)
	id.Seq = field("seq=", 10)
	out := field("out=", 10)
	want := field("sum=", 16)
	if err != nil {
		return ID{}, nil, err
	}
	if id.Global >= MaxID || key > 1<<32-1 || out > 1<<20 {
		return ID{}, nil, fmt.Errorf("a field of %.60q is out of range", value)
	}
	id.Key, id.Out = uint32(key), int(out)
	if got := sum(id, rest); want != 0 && got != 0 && want != uint64(got) {
		return id, rest, fmt.Errorf("%w: the sum of %.60q is %08x", ErrDamaged, value, got)
	}
	return id, rest, nil
}

// number is strconv.ParseUint without the string: millions of values are read.
func number(digits []byte, base uint64) (n uint64, ok bool) {
	for _, b := range digits {
		d := uint64(b - '0')
		if lower := b | 0x20; 'a' <= lower && lower <= 'f' {
			d = uint64(lower-'a') + 10
		}
		if d >= base || n > (1<<64-1-d)/base {
			return 0, false
		}
		n = n*base + d
	}
	return n, true
}

// sum is FNV-1a over id, key, seq and the lower-cased text; 0 for text that is not ASCII.
func sum(id ID, text []byte) uint32 {
	h := uint32(2166136261)
	mix := func(b byte) { h = (h ^ uint32(b)) * 16777619 }
	for _, n := range [...]uint64{id.Global, uint64(id.Key), id.Seq} {
		for ; n > 0; n >>= 8 {
			mix(byte(n))
		}
		mix(0)
	}
	for _, b := range text {
		if b >= 0x80 {
			return 0
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		mix(b)
	}
	return h | 1 // never 0
}
