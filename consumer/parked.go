package consumer

import (
	"context"
	"sort"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A done-set has a largest size (a broker takes 4,096 characters of metadata), and what it cannot
// say is repeated by whoever takes the partition over. So nothing is handed out that it could not
// describe, in whatever order the inputs end: records beyond that are parked, in order, counted in
// the budget, until the ack mark moves. Fetching is paused meanwhile, so a poll's worth of them is
// the most.
type parked struct {
	recs  []*kgo.Record
	bytes int64
}

// unparkAtLeast is how many parked records must fit before any of them is handed out: one for each
// step of the mark would be a poll for each record.
const unparkAtLeast = 1024

// readTo is the offset to read next: behind what is parked, or else behind what was handed out.
// Under mu.
func (p *partition) readTo() int64 {
	if n := len(p.parked.recs); n > 0 {
		return p.parked.recs[n-1].Offset + 1
	}
	return p.core.Next()
}

// park keeps records back. The copy lets go of those that were handed out. Under mu.
func (p *partition) park(recs []*kgo.Record) {
	p.parked.recs = append(p.parked.recs[:len(p.parked.recs):len(p.parked.recs)], recs...)
	for _, rec := range recs {
		p.parked.bytes += recordSize(rec)
	}
}

// unpark hands out what was parked, if enough of it may go now. Under mu.
func (p *partition) unpark(now int64) *run {
	if !p.ready() {
		return nil
	}
	recs := p.parked.recs
	p.parked = parked{}
	return p.handOut(recs, now)
}

// ready tells that parked records may be handed out. With nothing pending the next one always may:
// it is the ack mark then, whatever follows. Under mu.
func (p *partition) ready() bool {
	n := len(p.parked.recs)
	if n == 0 || !p.core.State().Reads() {
		return false
	}
	if p.core.Pending() == 0 {
		return true
	}
	if p.openShare() >= 1 {
		return false
	}
	before := min(n, unparkAtLeast) - 1
	return p.core.Fits(p.parked.recs[before].Offset, before)
}

// parks tells that records are parked.
func (p *partition) parks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.parked.recs) > 0
}

// openShare is the distance between the mark and the newest input, as a part of MaxRecords. Under
// the partition's lock.
func (p *partition) openShare() float64 { return float64(p.core.Open()) / float64(p.around.maxRecords) }

// waits tells that records are parked and must stay so: fetching more of them is of no use. Under
// mu.
func (p *partition) waits() bool { return len(p.parked.recs) > 0 && !p.ready() }

// countBelow is how many records are below the limit.
func countBelow(recs []*kgo.Record, limit int64) int {
	if recs[len(recs)-1].Offset < limit {
		return len(recs)
	}
	return sort.Search(len(recs), func(i int) bool { return recs[i].Offset >= limit })
}

// pollOnce polls. While records are parked the poll ends as soon as some of them may be handed out:
// that happens between a poll and AllowRebalance, like with any other record.
func (rd *reader) pollOnce(ctx context.Context, cl *kgo.Client) kgo.Fetches {
	if !rd.parking {
		return cl.PollRecords(ctx, rd.pollLimit())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Told first, then looked at: a mark that moves between the two would else wake nobody.
	rd.pollEnd.Store(&cancel)
	defer rd.pollEnd.Store(nil)
	for _, p := range rd.parts.all() {
		p.mu.Lock()
		if p.ready() {
			cancel()
		}
		p.mu.Unlock()
	}
	return cl.PollRecords(ctx, rd.pollLimit())
}

// wakePoll ends the poll that is open, or the wait for memory.
func (rd *reader) wakePoll() {
	rd.room.kick()
	if cancel := rd.pollEnd.Load(); cancel != nil {
		(*cancel)()
	}
}

// memoryFreed tells whoever waits for it.
func (rd *reader) memoryFreed(paused bool) {
	if paused {
		rd.parts.balance()
	}
	rd.room.kick()
}

// unparkAll hands out what may go now. A poll is open.
func (rd *reader) unparkAll(now int64, deliver func(*Batch)) {
	if !rd.parking {
		return
	}
	rd.parking = false
	for _, p := range rd.parts.all() {
		p.mu.Lock()
		r := p.unpark(now)
		rd.parking = rd.parking || len(p.parked.recs) > 0
		p.mu.Unlock()
		if r != nil {
			rd.hand(r, deliver)
		}
	}
}
