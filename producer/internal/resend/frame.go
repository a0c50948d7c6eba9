package resend

import (
	"bytes"
	"slices"
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

const (
	// A frame has at most frameUnits: of 100 bytes they fill it, smaller frames cost a gRPC message
	// each (256 took 5 % more CPU of app and sidecar).
	frameUnits = 512
	// frameSlack is the room beyond what closes a frame, so that the last unit of a frame rarely
	// makes its buffer grow.
	frameSlack = 16 << 10
	// keepBuffer is the largest buffer that goes back to the pool, larger than a frame and than the
	// connection's write buffer; a huge unit must not stay in memory for ever.
	keepBuffer = 512 << 10
)

// Pool makes frames of a size, takes their buffers back, and counts what they hold.
type Pool struct {
	limit   int // bytes that close a frame
	buffers *sync.Pool
	slots   *sync.Pool
	pinned  *int64 // bytes held by sealed frames; under the lock of the queue
}

// NewPool returns a pool whose frames are closed by so many bytes.
func NewPool(limit int) Pool {
	return Pool{limit: limit, pinned: new(int64),
		buffers: &sync.Pool{New: func() any {
			b := make([]byte, 0, limit+frameSlack)
			return &b
		}},
		slots: &sync.Pool{New: func() any {
			s := make([]Slot, 0, frameUnits)
			return &s
		}}}
}

// Get implements mem.BufferPool.
func (p Pool) Get(int) *[]byte { return p.buffers.Get().(*[]byte) }

// Put implements mem.BufferPool: gRPC calls it through the last reference to a frame's buffer.
func (p Pool) Put(b *[]byte) {
	if cap(*b) <= keepBuffer {
		*b = (*b)[:0]
		p.buffers.Put(b)
	}
}

// Slot is what the queue knows about one unit.
type Slot struct {
	Epoch   uint64
	Bytes   uint32
	records uint32 // with the bits below
}

const (
	reportedBit = 1 << 31
	returnedBit = 1 << 30 // the sidecar did not begin it and will not: it is sent again
)

func (s Slot) reported() bool { return s.records&reportedBit != 0 }
func (s Slot) returned() bool { return s.records&returnedBit != 0 }

// Cost is what the unit weighs.
func (s Slot) Cost() unit.Cost {
	return unit.Cost{Bytes: int64(s.Bytes), Records: int(s.records &^ (reportedBit | returnedBit))}
}

// Frame is a run of encoded units that are sent in one message. Open: Data grows. Sealed: Buf holds
// the bytes, one reference is the queue's, and each send adds gRPC's own. Shrunk: rest holds the
// units that were not reported then.
type Frame struct {
	First  uint64 // the first unit's number
	slots  []Slot
	left   int // not reported
	cost   unit.Cost
	pool   Pool
	Data   []byte
	Buf    mem.Buffer
	held   int // bytes that count as pinned
	sealed bool
	rest   []unitBytes
}

type unitBytes struct {
	k    int // index in the frame
	data []byte
}

func (p Pool) open(first uint64) *Frame {
	return &Frame{First: first, pool: p, Data: (*p.Get(0))[:0], slots: (*p.slots.Get().(*[]Slot))[:0]}
}

// Len is how many units it has.
func (f *Frame) Len() int { return len(f.slots) }

// End is the number after the last unit's.
func (f *Frame) End() uint64 { return f.First + uint64(len(f.slots)) }

func (f *Frame) slot(seq uint64) *Slot { return &f.slots[seq-f.First] }

// within tells that all its units are among those from first to before end, and none is reported.
func (f *Frame) within(first, end uint64) bool {
	return f.First >= first && f.End() <= end && f.left == len(f.slots)
}

func (f *Frame) add(s Slot) {
	f.slots = append(f.slots, s)
	f.cost.Add(s.Cost())
	f.left++
}

// full tells that the frame takes no more units.
func (f *Frame) full() bool {
	return f.sealed || len(f.slots) >= frameUnits || len(f.Data) >= min(f.pool.limit, wire.MaxFrameBytes)
}

// seal ends the frame. A frame with little in it gets a buffer and slots of its size: thousands of
// frames of one unit may be on their way.
func (f *Frame) seal() {
	if f.sealed {
		return
	}
	f.sealed = true
	if 4*len(f.slots) < cap(f.slots) {
		roomy := f.slots
		f.slots = slices.Clip(slices.Clone(roomy))
		f.pool.slots.Put(new(roomy[:0]))
	}
	data := f.Data
	f.Data = nil
	if 4*len(data) < cap(data) {
		f.Buf = mem.SliceBuffer(bytes.Clone(data))
		f.pool.Put(new(data))
		f.hold(f.Buf.Len())
		return
	}
	f.Buf = mem.NewBuffer(new(data), f.pool)
	f.hold(cap(data))
}

func (f *Frame) hold(n int) {
	*f.pool.pinned += int64(n - f.held)
	f.held = n
}

// bytes returns the encoded units of a frame that is not shrunk.
func (f *Frame) bytes() []byte {
	if f.Buf != nil {
		return f.Buf.ReadOnlyData()
	}
	return f.Data
}

// unreported returns the cost of the units that are not reported.
func (f *Frame) unreported() (c unit.Cost) {
	if f.left == f.Len() {
		return f.cost
	}
	for _, s := range f.slots {
		if !s.reported() {
			c.Add(s.Cost())
		}
	}
	return c
}

// each calls fn for the units that are not reported.
func (f *Frame) each(fn func(k int, data []byte)) {
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
			fn(k, data[:s.Bytes])
		}
		data = data[s.Bytes:]
	}
}

// split keeps the first n units and returns a frame with the rest. Only for sealed frames that were
// never sent: gRPC must not hold the buffer.
func (f *Frame) split(n int) *Frame {
	rest := &Frame{First: f.First + uint64(n), pool: f.pool, sealed: true, slots: append([]Slot(nil), f.slots[n:]...)}
	rest.left, rest.cost = len(rest.slots), f.cost
	f.slots = f.slots[:n]
	f.left, f.cost = n, unit.Cost{}
	for _, s := range f.slots {
		f.cost.Add(s.Cost())
	}
	rest.cost.Sub(f.cost)
	f.Buf, rest.Buf = mem.SplitUnsafe(f.Buf, int(f.cost.Bytes))
	rest.hold(int(rest.cost.Bytes))
	f.hold(max(f.held-rest.held, 0))
	return rest
}

// shrink copies the units that are not reported out of the buffer and gives it back.
func (f *Frame) shrink() {
	arena := make([]byte, 0, f.unreported().Bytes)
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
func (f *Frame) free() {
	if !f.sealed {
		f.sealed = true
		f.pool.Put(new(f.Data))
		f.Data = nil
	}
	f.rest = nil
	f.hold(0)
	if f.Buf != nil {
		f.Buf.Free()
		f.Buf = nil
	}
}

// forget gives everything back if nothing of the frame is left, and tells whether that is so. An
// open frame without units stays.
func (f *Frame) forget() bool {
	if f.left > 0 || !f.sealed {
		return false
	}
	f.free()
	f.recycle()
	return true
}

// recycle is for a freed frame that the queue has forgotten.
func (f *Frame) recycle() {
	if cap(f.slots) == frameUnits {
		f.pool.slots.Put(new(f.slots))
	}
}
