package verify

import "math/bits"

// bitset is a set of small numbers that grows with its largest one: ten million ids need 1.25 MB.
type bitset struct {
	words []uint64
	n     uint64 // members
}

func (s *bitset) has(i uint64) bool {
	return i/64 < uint64(len(s.words)) && s.words[i/64]&(1<<(i%64)) != 0
}

// add tells whether i is new.
func (s *bitset) add(i uint64) bool {
	if w := i / 64; w >= uint64(len(s.words)) {
		s.words = append(s.words, make([]uint64, w+1-uint64(len(s.words)))...)
	}
	bit := uint64(1) << (i % 64)
	if s.words[i/64]&bit != 0 {
		return false
	}
	s.words[i/64] |= bit
	s.n++
	return true
}

func (s *bitset) remove(i uint64) {
	if s.has(i) {
		s.words[i/64] &^= 1 << (i % 64)
		s.n--
	}
}

// each calls f for every member in order until it returns false.
func (s *bitset) each(f func(uint64) bool) {
	for w, word := range s.words {
		for ; word != 0; word &= word - 1 {
			if !f(uint64(w)*64 + uint64(bits.TrailingZeros64(word))) {
				return
			}
		}
	}
}
