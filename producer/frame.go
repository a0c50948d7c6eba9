package producer

import (
	"bytes"
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/ackmark/ackmark/internal/wire"
)

const (
	// frameUnits and frameBytes close a frame. Larger ones do not get faster, smaller ones cost a
	// gRPC message each.
	frameUnits = 256
	// frameSlack is the room beyond MaxFrameBytes, so that the last unit of a frame rarely makes
	// its buffer grow.
	frameSlack = 16 << 10
	// keepBuffer is the largest buffer that goes back to the pool; a huge unit must not stay in
	// memory for ever.
	keepBuffer = 512 << 10
)

// framePool makes frames of a size, takes their buffers back, and counts what they hold.
type framePool struct {
	limit   int // bytes that close a frame
	buffers *sync.Pool
	slots   *sync.Pool
	pinned  *int64 // bytes held by sealed frames; under the client's lock
}

func newFramePool(limit int) framePool {
	return framePool{limit: limit, pinned: new(int64),
		buffers: &sync.Pool{New: func() any {
			b := make([]byte, 0, limit+frameSlack)
			return &b
		}},
		slots: &sync.Pool{New: func() any {
			s := make([]slotInfo, 0, frameUnits)
			return &s
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

// slotInfo is what the window knows about one unit.
type slotInfo struct {
	epoch   uint64
	bytes   uint32
	records uint32 // with the bits below
}

const (
	reportedBit = 1 << 31
	returnedBit = 1 << 30 // the sidecar did not begin it and will not: it is sent again
)

func (s slotInfo) reported() bool { return s.records&reportedBit != 0 }
func (s slotInfo) returned() bool { return s.records&returnedBit != 0 }

func (s slotInfo) cost() cost {
	return cost{int64(s.bytes), int(s.records &^ (reportedBit | returnedBit))}
}

// frame is a run of encoded units that are sent in one message. Open: data grows. Sealed: buf holds
// the bytes, one reference is the window's, and each send adds gRPC's own. Shrunk: rest holds the
// units that were not reported then.
type frame struct {
	first  uint64
	slots  []slotInfo
	left   int // not reported
	cost   cost
	pool   framePool
	data   []byte
	buf    mem.Buffer
	held   int // bytes that count as pinned
	sealed bool
	rest   []unitBytes
}

type unitBytes struct {
	k    int // index in the frame
	data []byte
}

func (p framePool) open(first uint64) *frame {
	return &frame{first: first, pool: p, data: (*p.Get(0))[:0], slots: (*p.slots.Get().(*[]slotInfo))[:0]}
}

func (f *frame) len() int { return len(f.slots) }

// end is the number after the last unit's.
func (f *frame) end() uint64 { return f.first + uint64(len(f.slots)) }

func (f *frame) slot(seq uint64) *slotInfo { return &f.slots[seq-f.first] }

func (f *frame) add(s slotInfo) {
	f.slots = append(f.slots, s)
	f.cost.add(s.cost())
	f.left++
}

// full tells that the frame takes no more units.
func (f *frame) full() bool {
	return f.sealed || len(f.slots) >= frameUnits || len(f.data) >= min(f.pool.limit, wire.MaxFrameBytes)
}

// seal ends the frame. A frame with little in it gets a buffer of its size: thousands of frames of
// one unit may be on their way.
func (f *frame) seal() {
	if f.sealed {
		return
	}
	f.sealed = true
	data := f.data
	f.data = nil
	if 4*len(data) < cap(data) {
		f.buf = mem.SliceBuffer(bytes.Clone(data))
		f.pool.Put(new(data))
		f.hold(f.buf.Len())
		return
	}
	f.buf = mem.NewBuffer(new(data), f.pool)
	f.hold(cap(data))
}

func (f *frame) hold(n int) {
	*f.pool.pinned += int64(n - f.held)
	f.held = n
}

// bytes returns the encoded units of a frame that is not shrunk.
func (f *frame) bytes() []byte {
	if f.buf != nil {
		return f.buf.ReadOnlyData()
	}
	return f.data
}

// unreported returns the cost of the units that are not reported.
func (f *frame) unreported() (c cost) {
	if f.left == f.len() {
		return f.cost
	}
	for _, s := range f.slots {
		if !s.reported() {
			c.add(s.cost())
		}
	}
	return c
}

// each calls fn for the units that are not reported.
func (f *frame) each(fn func(k int, data []byte)) {
	if f.left == 0 {
		return
	}
	if f.rest != nil {
		for _, u := range f.rest {
			if !f.slots[u.k].reported() {
				fn(u.k, u.data)
			}
		}
		return
	}
	data := f.bytes()
	for k, s := range f.slots {
		if !s.reported() {
			fn(k, data[:s.bytes])
		}
		data = data[s.bytes:]
	}
}

// split keeps the first n units and returns a frame with the rest. Only for sealed frames that were
// never sent: gRPC must not hold the buffer.
func (f *frame) split(n int) *frame {
	rest := &frame{first: f.first + uint64(n), pool: f.pool, sealed: true, slots: append([]slotInfo(nil), f.slots[n:]...)}
	rest.left, rest.cost = len(rest.slots), f.cost
	f.slots = f.slots[:n]
	f.left, f.cost = n, cost{}
	for _, s := range f.slots {
		f.cost.add(s.cost())
	}
	rest.cost.sub(f.cost)
	f.buf, rest.buf = mem.SplitUnsafe(f.buf, int(f.cost.bytes))
	rest.hold(int(rest.cost.bytes))
	f.hold(max(f.held-rest.held, 0))
	return rest
}

// shrink copies the units that are not reported out of the buffer and gives it back.
func (f *frame) shrink() {
	arena := make([]byte, 0, f.unreported().bytes)
	rest := make([]unitBytes, 0, f.left)
	f.each(func(k int, data []byte) {
		arena = append(arena, data...)
		rest = append(rest, unitBytes{k, arena[len(arena)-len(data):]})
	})
	f.free()
	f.rest = rest
	f.hold(len(arena))
}

// free gives the bytes back. A second free does nothing.
func (f *frame) free() {
	if !f.sealed {
		f.sealed = true
		f.pool.Put(new(f.data))
		f.data = nil
	}
	f.rest = nil
	f.hold(0)
	if f.buf != nil {
		f.buf.Free()
		f.buf = nil
	}
}

// forget gives everything back if nothing of the frame is left, and tells whether that is so. An
// open frame without units stays.
func (f *frame) forget() bool {
	if f.left > 0 || !f.sealed {
		return false
	}
	f.free()
	f.recycle()
	return true
}

// recycle is for a freed frame that the window has forgotten.
func (f *frame) recycle() {
	if cap(f.slots) == frameUnits {
		f.pool.slots.Put(new(f.slots))
	}
}
