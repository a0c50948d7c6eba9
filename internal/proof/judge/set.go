package judge

import "math/bits"

// Set is a set of small numbers that grows with its largest one: ten million ids need 1.25 MB.
type Set struct {
	words []uint64
	n     uint64 // members
}

// Has tells whether i is a member.
func (s *Set) Has(i uint64) bool {
	return i/64 < uint64(len(s.words)) && s.words[i/64]&(1<<(i%64)) != 0
}

// Add tells whether i is new.
func (s *Set) Add(i uint64) bool {
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

// Remove takes i out, if it is a member.
func (s *Set) Remove(i uint64) {
	if s.Has(i) {
		s.words[i/64] &^= 1 << (i % 64)
		s.n--
	}
}

// Each calls f for every member in order until it returns false.
func (s *Set) Each(f func(uint64) bool) {
	for w, word := range s.words {
		for ; word != 0; word &= word - 1 {
			if !f(uint64(w)*64 + uint64(bits.TrailingZeros64(word))) {
				return
			}
		}
	}
}

// Len is the number of members.
func (s *Set) Len() uint64 { return s.n }
