package sessionfile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/donemeta"
)

const (
	ringBits  = 32 << 10
	ringWords = ringBits / 64
	headWords = 128 // of a cell, before its bitmap
	cellWords = headWords + ringWords
	cellBytes = cellWords * 8

	// Window is how far above the mark an offset may lie to be noted as done: more than a done-set
	// has room for, and less than the ring by what the mark moves at a time.
	Window = ringBits - step
	step   = 4 << 10
)

// Words of a cell.
const (
	wordState = iota // 0: free. Else the number of its use, which is in the checksum
	wordMark
	wordSum // checksum << 32 | length
	wordText
	maxText = (headWords - wordText) * 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// cell is an assignment in the file: words of the mapping. Stores are in order, as a process that
// is killed has made them.
type cell struct {
	words []uint64
	of    *mapping // that the words are of: it must not go before them
	// after is called after each store by tests: a kill could be there.
	after func()
}

func (c *cell) put(i int, w uint64) {
	atomic.StoreUint64(&c.words[i], w)
	if c.after != nil {
		c.after()
	}
}

// claim writes an assignment into a free cell. Use is not 0, and another one each time.
func (c *cell) claim(use uint64, a *Assignment) {
	c.put(wordState, 0)
	for i := headWords; i < cellWords; i++ {
		if c.words[i] != 0 { // a page of a bitmap that nobody touched stays none
			c.put(i, 0)
		}
	}
	text := a.append(nil, use)
	c.put(wordMark, uint64(a.Start))
	c.put(wordSum, uint64(crc32.Checksum(text, castagnoli))<<32|uint64(len(text)))
	for len(text)%8 != 0 {
		text = append(text, 0)
	}
	for i := 0; i < len(text); i += 8 {
		c.put(wordText+i/8, binary.LittleEndian.Uint64(text[i:]))
	}
	c.put(wordState, use)
}

func (c *cell) free() { c.put(wordState, 0) }

func (c *cell) mark() int64 { return int64(c.words[wordMark]) }

// advance stores a higher mark, in steps for which the ring has room. A client may name any offset:
// once all of the ring is cleared nothing is noted up to there, and one step goes the rest of the
// way.
func (c *cell) advance(to int64) {
	for at, from := c.mark(), c.mark(); at < to; {
		next := at + min(to-at, step)
		switch {
		case at-from >= ringBits:
			next = to
		case next <= maxOffset:
			c.clear(at+Window+1, next+Window)
		}
		c.put(wordMark, uint64(next))
		at = next
	}
}

// clear forgets the bits of the offsets in [from, to], which are no more than the ring has.
func (c *cell) clear(from, to int64) {
	for o := from; o <= to; {
		i, shift := place(o)
		n := min(64-int64(shift), to-o+1)
		if mask := ones(n) << shift; c.words[i]&mask != 0 {
			c.put(i, c.words[i]&^mask)
		}
		o += n
	}
}

// done notes the offsets in [first, last], as far as they lie in the window.
func (c *cell) done(first, last int64) {
	at := c.mark()
	if at > maxOffset {
		return
	}
	first, last = max(first, at+1), min(last, at+Window)
	for o := first; o <= last; {
		i, shift := place(o)
		n := min(64-int64(shift), last-o+1)
		if mask := ones(n) << shift; c.words[i]&mask != mask {
			c.put(i, c.words[i]|mask)
		}
		o += n
	}
}

// maxOffset keeps sums within what an offset can be.
const maxOffset = math.MaxInt64 - 2*ringBits

func ones(n int64) uint64 { return ^uint64(0) >> (64 - n) }

// place is the word and the bit of an offset.
func place(offset int64) (word int, bit uint) {
	at := uint64(offset) % ringBits
	return headWords + int(at/64), uint(at % 64)
}

// runs are the offsets above the mark that are noted as done.
func (c *cell) runs() (all []donemeta.Run) {
	at := c.mark()
	if at > maxOffset {
		return nil
	}
	for o, end := at+1, at+Window; o <= end; {
		i, shift := place(o)
		left := min(64-int64(shift), end-o+1)
		for word := c.words[i] >> shift & ones(left); word != 0; {
			skip := int64(bits.TrailingZeros64(word))
			n := int64(bits.TrailingZeros64(^(word >> skip)))
			if k := len(all); k > 0 && all[k-1].Last == o+skip-1 {
				all[k-1].Last += n
			} else {
				all = append(all, donemeta.Run{First: o + skip, Last: o + skip + n - 1})
			}
			word &^= ones(n) << skip
		}
		o += left
	}
	return all
}

var errCell = errors.New("an assignment in it is damaged")

// read returns the assignment of a cell, nil if there is none.
func (c *cell) read() (*Assignment, error) {
	use, sum := c.words[wordState], c.words[wordSum]
	if use == 0 {
		return nil, nil
	}
	n := int(uint32(sum))
	if n > maxText {
		return nil, errCell
	}
	text := make([]byte, 0, maxText)
	for i := wordText; i < headWords; i++ {
		text = binary.LittleEndian.AppendUint64(text, c.words[i])
	}
	if crc32.Checksum(text[:n], castagnoli) != uint32(sum>>32) {
		return nil, errCell
	}
	a := new(Assignment)
	if !a.parse(text[:n], use) {
		return nil, errCell
	}
	if a.Mark = c.mark(); a.Mark < a.Start || a.Start < 0 {
		return nil, errCell
	}
	a.Done = c.runs()
	return a, nil
}
