package producer

import "sync"

// slabSize is how many slots a slab of a large call has. Calls of one or few records take small
// slabs, or a record would hold 20 KiB.
const slabSize = 64

type slab []slot

var (
	slabs1  = sync.Pool{New: func() any { return newSlab(1) }}
	slabs8  = sync.Pool{New: func() any { return newSlab(8) }}
	slabs64 = sync.Pool{New: func() any { return newSlab(slabSize) }}
)

func newSlab(n int) *slab {
	s := make(slab, n)
	for i := range s {
		s[i].rec.Promise = s[i].finish
	}
	return &s
}

func slabPool(n int) *sync.Pool {
	switch {
	case n <= 1:
		return &slabs1
	case n <= 8:
		return &slabs8
	}
	return &slabs64
}

// slots are the slots of one call. A slot's address does not change while its record is on its way.
type slots struct {
	first *slab   // nil: no records
	more  []*slab // beyond the first slabSize
}

func takeSlots(n int) (s slots) {
	if n == 0 {
		return s
	}
	s.first = slabPool(n).Get().(*slab)
	if n > slabSize {
		s.more = make([]*slab, 0, (n-1)/slabSize)
		for n -= slabSize; n > 0; n -= slabSize {
			s.more = append(s.more, slabs64.Get().(*slab))
		}
	}
	return s
}

func (s *slots) at(i int) *slot {
	if i < slabSize {
		return &(*s.first)[i]
	}
	return &(*s.more[i/slabSize-1])[i%slabSize]
}

func (s *slots) put() {
	if s.first == nil {
		return
	}
	slabPool(len(*s.first)).Put(s.first)
	for _, m := range s.more {
		slabs64.Put(m)
	}
	s.first, s.more = nil, nil
}
