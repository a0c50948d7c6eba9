package wire

import (
	"math/bits"
	"sync"

	"google.golang.org/grpc/mem"
)

// Smallest and largest buffers that are kept, as powers of two.
const (
	minPooled = 9
	maxPooled = 24
)

// pool keeps the buffers of received messages, by powers of two.
//
// gRPC's default pool has one size for everything between 32 KiB and 1 MiB, and clears all of it at
// every use: a frame of 64 KiB would be held in 1 MiB until its last promise, beyond every budget
// (S9), and clearing was a quarter of the sidecar's CPU. A buffer of ours is less than twice its
// message, and is not cleared: the message overwrites what is read of it.
type pool struct {
	classes [maxPooled + 1]sync.Pool
}

var received mem.BufferPool = new(pool)

// Pool returns the pool of received messages, for what is sent as [Raw].
func Pool() mem.BufferPool { return received }

// Get implements [mem.BufferPool].
func (p *pool) Get(size int) *[]byte {
	class := max(bits.Len(uint(max(size, 1)-1)), minPooled)
	if class > maxPooled {
		b := make([]byte, size)
		return &b
	}
	if b, ok := p.classes[class].Get().(*[]byte); ok {
		*b = (*b)[:size]
		return b
	}
	b := make([]byte, size, 1<<class)
	return &b
}

// Put implements [mem.BufferPool].
func (p *pool) Put(b *[]byte) {
	class := bits.Len(uint(cap(*b))) - 1
	if class < minPooled || class > maxPooled || cap(*b) != 1<<class {
		return
	}
	p.classes[class].Put(b)
}
