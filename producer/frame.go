package producer

import (
	"sync"

	"google.golang.org/grpc/mem"
)

const (
	// frameUnits and frameBytes close a frame. Larger ones do not get faster, smaller ones cost a gRPC message each.
	frameUnits = 256
	// frameSlack is the room beyond MaxFrameBytes, so that the last unit of a frame rarely makes its buffer grow.
	frameSlack = 16 << 10
	// keepBuffer is the largest buffer that goes back to the pool; a huge unit must not stay in memory for ever.
	keepBuffer = 512 << 10
)

// framePool makes frames of a size and takes their buffers back.
type framePool struct {
	limit   int // bytes that close a frame
	buffers *sync.Pool
}

func newFramePool(limit int) framePool {
	return framePool{limit, &sync.Pool{New: func() any {
		b := make([]byte, 0, limit+frameSlack)
		return &b
	}}}
}

// Get implements mem.BufferPool.
func (p framePool) Get(int) *[]byte { return p.buffers.Get().(*[]byte) }

// Put implements mem.BufferPool: gRPC calls it through the last reference to a frame's buffer.
func (p framePool) Put(b *[]byte) {
	if cap(*b) <= keepBuffer {
		*b = (*b)[:0]
		p.buffers.Put(b)
	}
}

// frame is a run of encoded units that are sent in one message. Open: data grows. Sealed: buf holds the bytes, one reference is the window's, and
// each send adds gRPC's own.
type frame struct {
	first  uint64
	n      int
	left   int // not reported
	cost   cost
	pool   framePool
	data   []byte
	buf    mem.Buffer
	sealed bool
}

func (p framePool) open(first uint64) *frame {
	return &frame{first: first, pool: p, data: (*p.Get(0))[:0]}
}

// full tells that the frame takes no more units.
func (f *frame) full() bool {
	return f.sealed || f.n >= frameUnits || len(f.data) >= f.pool.limit
}

func (f *frame) seal() {
	if !f.sealed {
		f.sealed = true
		data := f.data
		f.buf = mem.NewBuffer(&data, f.pool)
		f.data = nil
	}
}

// bytes returns the encoded units.
func (f *frame) bytes() []byte {
	if !f.sealed {
		return f.data
	}
	if f.buf == nil {
		return nil
	}
	return f.buf.ReadOnlyData()
}

// split keeps the first n units, which cost head, and returns a frame with the rest. Only for sealed frames that were never sent: gRPC must not
// hold the buffer.
func (f *frame) split(n int, head cost) *frame {
	rest := &frame{first: f.first + uint64(n), n: f.n - n, left: f.left - n, cost: f.cost, pool: f.pool, sealed: true}
	rest.cost.sub(head)
	f.n, f.left, f.cost = n, n, head
	f.buf, rest.buf = mem.SplitUnsafe(f.buf, int(head.bytes))
	return rest
}

// free gives the buffer back. A second free does nothing.
func (f *frame) free() {
	f.seal()
	if f.buf != nil {
		f.buf.Free()
		f.buf = nil
	}
}
