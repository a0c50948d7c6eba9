package pipeline

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slotCount is how many slots keys are hashed to. Keys that share a slot share a lane.
	slotCount = 32768
	// maxSharing is the number of lanes above which keys stay where their hash puts them.
	maxSharing = slotCount / 8
)

// noKey is the slot of an input without a key, which promises no order.
const noKey uint16 = slotCount

// routing says which lane a key belongs to, in a pipeline that keeps the order per key: one lane at
// a time, and another one only while the former has nothing of the key in hand. Hashing alone would
// leave lanes idle beside one in which several slow keys wait for each other.
//
// Keys move when a lane has nothing to do and another one is behind: then it takes half of what
// waits there. Nothing is counted per record for it; who is busy with what is looked up when a lane
// asks.
type routing struct {
	lanes []*lane
	seed  maphash.Seed

	fixed bool  // keys stay where their hash puts them
	moved int64 // times that keys went to another lane; under mu

	mu    sync.Mutex // held while a batch is split, or keys move. Taken before a lane's mu
	owner [slotCount]uint16
	busy  slotSet // of the lane that gives: what it has in hand
	moves slotSet // slots that go
	kept  slotSet // slots that are free to go, and left

	anyBehind atomic.Bool // a lane was at the pacer's last look
	queues    []queue     // what behind lists
}

func newRouting(lanes []*lane) *routing {
	r := &routing{lanes: lanes, seed: maphash.MakeSeed(), fixed: len(lanes) > maxSharing}
	for i := range r.owner {
		r.owner[i] = uint16(i % len(lanes))
	}
	return r
}

// share lets keys move from now on.
func (r *routing) share() {
	if r.fixed {
		return
	}
	for i, l := range r.lanes {
		l.routing, l.number = r, i
	}
}

// of returns the slot of a key, and its lane. Under mu.
func (r *routing) of(key []byte) (slot uint16, lane uint64) {
	hash := maphash.Bytes(r.seed, key)
	slot = uint16(hash % slotCount)
	if r.fixed {
		return slot, hash % uint64(len(r.lanes))
	}
	return slot, uint64(r.owner[slot])
}

// slotSet is a set of slots, but for the noKey one.
type slotSet struct {
	bits [slotCount / 64]uint64
	list []uint16 // for clearing
}

func (s *slotSet) has(slot uint16) bool { return s.bits[slot/64]&(1<<(slot%64)) != 0 }

func (s *slotSet) add(slots ...uint16) {
	for _, slot := range slots {
		if slot != noKey && !s.has(slot) {
			s.bits[slot/64] |= 1 << (slot % 64)
			s.list = append(s.list, slot)
		}
	}
}

func (s *slotSet) clear() {
	for _, slot := range s.list {
		s.bits[slot/64] &^= 1 << (slot % 64)
	}
	s.list = s.list[:0]
}

// sharing is what a lane has for its keys to move. The fields from noneFree on are under the lane's
// mu.
type sharing struct {
	routing *routing // nil: its inputs stay where they are
	number  int
	rests   time.Time   // until then no keys are taken from it; under routing.mu
	behind  atomic.Bool // more waits than it gets done soon, and others may have it. Set by the pacer

	noneFree   bool // it was asked for keys and had none free, in its call noneFreeAt; nothing came or was decided since
	noneFreeAt uint64
	stopped    bool    // an input stopped the pipeline: what is behind it must not overtake it
	out        *flight // the first of those on their way
}

// list notes a flight that is on its way: until it is decided, its keys stay. Under mu.
func (l *lane) list(f *flight) {
	if l.routing == nil {
		return
	}
	f.listed, f.following = true, l.out
	if l.out != nil {
		l.out.before = f
	}
	l.out = f
}

// unlist lets go of a flight that is decided.
func (l *lane) unlist(f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.before == nil {
		l.out = f.following
	} else {
		f.before.following = f.following
	}
	if f.following != nil {
		f.following.before = f.before
	}
	f.before, f.following, f.listed = nil, nil, false
	l.noneFree = false
}

// waits tells whether something waits that another lane could take: behind the handler that runs,
// or behind an input in backoff. Under mu.
func (l *lane) waits() bool {
	return l.routing != nil && !l.stopped && !l.abandoned &&
		(l.backlog.queued > 0 || l.chunk != nil && l.chunk.next < len(l.chunk.msgs))
}

// behindFrom is how many calls between two looks of the pacer tell a lane that keeps up from one
// that others should help.
const behindFrom = uint64(paceEvery / fastHandler)

// fastPace is the pace of a lane that has been fast, however fast: one that makes no call any more
// is behind six looks later. It may only have lost its processor: on a busy machine that happens
// all the time, and to look through what waits there costs more than it helps.
const fastPace = 64 * behindFrom

// noHelp tells that nobody can help the lane now. Under mu.
func (l *lane) noHelp() bool { return l.noneFree && l.noneFreeAt == l.calls }

// take moves keys to a lane that has nothing to do. False: nobody has any for it.
func (r *routing) take(to *lane) bool {
	if !r.anyBehind.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.behind(to) {
		if r.move(q.lane, to) {
			return true
		}
	}
	return false
}

// moveShare is by how many times the time that it took to look through a lane is let pass before
// the next look: moving keys takes a twentieth of the time at most, however much waits.
const moveShare = 20

// longestRest bounds that: what was measured is also how long the process stood still.
const longestRest = 100 * time.Millisecond

// queue is a lane that others should help.
type queue struct {
	lane  *lane
	waits int
}

// behind lists the lanes that are, the one in which the most waits first. Under mu.
func (r *routing) behind(to *lane) []queue {
	now := time.Now()
	r.queues = r.queues[:0]
	for _, l := range r.lanes {
		if l == to || !l.behind.Load() || now.Before(l.rests) {
			continue
		}
		l.mu.Lock()
		n := l.backlog.queued
		if l.chunk != nil {
			n += len(l.chunk.msgs) - l.chunk.next
		}
		if l.stopped || l.abandoned || l.noHelp() {
			n = 0
		}
		l.mu.Unlock()
		if n > 0 {
			r.queues = append(r.queues, queue{l, n})
		}
	}
	slices.SortFunc(r.queues, func(a, b queue) int { return b.waits - a.waits })
	return r.queues
}

// move moves keys from one lane to another. False: it has none that may. Under mu.
func (r *routing) move(from, to *lane) bool {
	began := time.Now()
	chunks := from.giveAway()
	now := time.Now()
	from.rests = now.Add(min(moveShare*now.Sub(began), longestRest)) // a process may stand still meanwhile
	for _, slot := range r.moves.list {
		r.owner[slot] = uint16(to.number)
	}
	r.busy.clear()
	r.moves.clear()
	r.kept.clear()
	if len(chunks) == 0 {
		return false
	}
	r.moved++
	to.mu.Lock()
	defer to.mu.Unlock()
	for _, c := range chunks {
		to.backlog.push(c)
	}
	return true
}

// giveAway takes half of the keys that wait in the lane out of it. A key stays while an input of it
// is in a handler's hands, or its outputs are not decided: what is behind could overtake it (S7).
func (l *lane) giveAway() []*chunk {
	r := l.routing
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.abandoned {
		return nil
	}
	l.inHand(&r.busy)
	free := 0
	goes := func(slot uint16) bool {
		switch {
		case slot == noKey:
			free++
			return free%2 == 1
		case r.busy.has(slot), r.kept.has(slot):
			return false
		case r.moves.has(slot):
			return true
		}
		if free++; free%2 == 1 {
			r.moves.add(slot)
			return true
		}
		r.kept.add(slot)
		return false
	}
	var chunks []*chunk
	if c := l.chunk; c != nil {
		chunks = c.giveAway(goes, chunks)
	}
	chunks = l.backlog.giveAway(goes, chunks)
	if l.noneFree, l.noneFreeAt = len(chunks) == 0, l.calls; l.noneFree {
		l.behind.Store(false) // not asked again before the pacer looks: that costs more, the more waits here
	}
	return chunks
}

// giveAway appends a chunk with those of c's inputs to the list that go and were not taken yet.
func (c *chunk) giveAway(goes func(slot uint16) bool, list []*chunk) []*chunk {
	var gone *chunk
	kept := c.next
	for i := c.next; i < len(c.msgs); i++ {
		m, slot := c.msgs[i], c.slots[i]
		if !goes(slot) {
			c.msgs[kept], c.slots[kept] = m, slot
			kept++
			continue
		}
		if gone == nil {
			gone = newChunk(c.assignment)
			gone.msgs = slices.Grow(gone.msgs, (len(c.msgs)-i+1)/2)
			gone.slots = slices.Grow(gone.slots, (len(c.msgs)-i+1)/2)
			list = append(list, gone)
		}
		gone.msgs, gone.slots = append(gone.msgs, m), append(gone.slots, slot)
	}
	clear(c.msgs[kept:])
	c.msgs, c.slots = c.msgs[:kept], c.slots[:kept]
	return list
}

// giveAway is the same for all chunks of a queue.
func (b *backlog) giveAway(goes func(slot uint16) bool, list []*chunk) []*chunk {
	rest := b.chunks[b.head:]
	for i, c := range rest {
		before := len(c.msgs)
		list = c.giveAway(goes, list)
		b.count(c.assignment, len(c.msgs)-before)
		if c.next == len(c.msgs) {
			c.recycle()
			rest[i] = nil
		}
	}
	b.compact()
	return list
}

// inHand collects the slots of which the lane has something in hand. Under mu.
func (l *lane) inHand(busy *slotSet) {
	if c := l.chunk; c != nil && c.next > 0 {
		busy.add(c.slots[c.next-1])
	}
	if l.flight != nil {
		busy.add(l.flight.slots...)
	}
	for i := range l.again {
		busy.add(l.again[i].slot)
	}
	for f := l.out; f != nil; f = f.following {
		busy.add(f.slots...)
	}
}
