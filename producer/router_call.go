package producer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/producer/internal/unit"
)

// kind is which way a unit goes.
type kind uint8

const (
	bySidecar = kind(route.Sidecar)
	byDirect  = kind(route.Direct)
	bySplit   = kind(2)
)

// held is a place of a call in a topic's switch.
type held struct {
	topic  *routedTopic
	ticket route.Ticket
}

// plan is which way the units of a call go.
type plan struct {
	whole   kind                 // of all of them, if kinds is nil
	kinds   []kind               // by unit
	outputs map[int][]route.Path // of the units that are split, by output
	topics  [2][]*routedTopic
	tickets [2][]held
}

// pass notes that a record of a topic goes a way.
func (p *plan) pass(t *routedTopic, way route.Path) {
	list := p.topics[way]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == t {
			return
		}
	}
	p.topics[way] = append(list, t)
}

// set notes the way of a unit; n are all of the call.
func (p *plan) set(i, n int, k kind) {
	switch {
	case p.kinds != nil:
		p.kinds[i] = k
	case i == 0 && k != bySplit:
		p.whole = k
	case k != p.whole || k == bySplit:
		p.kinds = make([]kind, n)
		for j := range i {
			p.kinds[j] = p.whole
		}
		p.kinds[i] = k
	}
}

// splitUp notes the ways of a split unit's outputs: they must be those that were counted.
func (p *plan) splitUp(i int, ways []route.Path) {
	if p.outputs == nil {
		p.outputs = map[int][]route.Path{}
	}
	p.outputs[i] = slices.Clone(ways)
}

// enter waits until each record of the call may go its way, and counts the call there. A whole call
// waits for one key that has changed its way: what comes behind must not overtake it.
func (r *router) enter(ctx context.Context, units []Unit) (*plan, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.closed {
			return nil, errClosed()
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if p, ok := r.plan(units); ok {
			for way, list := range p.topics {
				for _, t := range list {
					p.tickets[way] = append(p.tickets[way], held{t, t.Enter(route.Path(way))})
				}
			}
			return p, nil
		}
		if r.side.cfg.OnFull == Refuse {
			return nil, (*Error)(unit.Full("a key of it has changed its route and waits for what its topic has on the former way"))
		}
		r.follow.notify() // what is left on the way through the sidecar may need a detour
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		r.mu.Lock()
	}
}

// plan finds the way of each unit; false: a record may not go yet. mu is held.
func (r *router) plan(units []Unit) (*plan, bool) {
	p := new(plan)
	name, topic := "", (*routedTopic)(nil)
	var whole route.Path
	var isWhole bool
	var ways []route.Path
	for i := range units {
		outs := units[i].Outputs
		ways = ways[:0]
		k := byDirect
		if r.joined {
			k = bySidecar // one without outputs: the sidecar is to know that its input is done
		}
		for j := range outs {
			rec := &outs[j]
			if rec.Topic != name || topic == nil {
				name, topic = rec.Topic, r.topic(rec.Topic)
				whole, isWhole = topic.Whole()
			}
			way := whole
			if !isWhole {
				b := topic.bucket(rec)
				if !topic.Ready(b) {
					return nil, false
				}
				way = topic.Path(b)
			}
			if way == route.Sidecar && !r.joined {
				return nil, false
			}
			p.pass(topic, way)
			ways = append(ways, way)
			if j == 0 {
				k = kind(way)
			} else if k != kind(way) {
				k = bySplit
			}
		}
		if p.set(i, len(units), k); k == bySplit {
			p.splitUp(i, ways)
		}
	}
	return p, true
}

// bucket is the part of the topic that a record belongs to. mu is held.
func (t *routedTopic) bucket(rec *Record) int {
	partition := int32(route.NoPartition)
	if rec.Partition != nil {
		partition = *rec.Partition
	}
	t.See(partition)
	return route.Bucket(rec.Key, partition)
}

// leave gives places of a call back.
func (r *router) leave(list []held) {
	if len(list) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	news := false
	for _, h := range list {
		if h.topic.Leave(h.ticket) {
			news = true
		}
	}
	if news {
		r.announce()
		r.follow.notify()
	}
}

// routed is a call on its way.
type routed struct {
	r     *router
	to    Reporter
	parts [2]routedPart

	mu     sync.Mutex
	splits map[int]*splitUnit
}

// routedPart is the Reporter of what of a call goes one way.
type routedPart struct {
	call    *routed
	path    route.Path
	index   []int        // of its units in the call; nil: they are the call's
	left    atomic.Int64 // units without a fate
	tickets []held
	sources []Source // of its units, for those that the sidecar is to be told of; nil: none
}

// splitUnit is a unit of which both ways have outputs.
type splitUnit struct {
	source  Source
	outputs [2][]int // of each way, their numbers in the unit
	left    int
	err     *Error
}

func newRouted(r *router, to Reporter, p *plan) *routed {
	c := &routed{r: r, to: to}
	for way := range c.parts {
		c.parts[way].call, c.parts[way].path, c.parts[way].tickets = c, route.Path(way), p.tickets[way]
	}
	return c
}

// Acked implements Reporter.
func (p *routedPart) Acked(first, n int) {
	if p.index == nil {
		p.call.to.Acked(first, n)
	} else {
		from, run := 0, 0
		for _, at := range p.index[first : first+n] {
			switch {
			case p.call.splits[at] != nil:
				p.call.end(p.path, at, nil)
			case run > 0 && from+run == at:
				run++
			default:
				if run > 0 {
					p.call.to.Acked(from, run)
				}
				from, run = at, 1
			}
		}
		if run > 0 {
			p.call.to.Acked(from, run)
		}
	}
	if p.sources != nil {
		p.note(first, n)
	}
	p.done(n)
}

// note tells the sidecar of inputs whose outputs went directly. Their Reporter is told already:
// they are in Progress, or here, or in both.
func (p *routedPart) note(first, n int) {
	units := make([]Unit, 0, n)
	for _, s := range p.sources[first : first+n] {
		if s.Epoch != 0 {
			units = append(units, Unit{Source: s})
		}
	}
	p.call.r.note(units)
}

// Failed implements Reporter.
func (p *routedPart) Failed(unit int, err *Error) {
	at := unit
	if p.index != nil {
		at = p.index[unit]
	}
	if p.call.splits[at] != nil {
		p.call.end(p.path, at, err)
	} else {
		p.call.to.Failed(at, err)
	}
	p.done(1)
}

// done counts units off; the last one gives the call's places on this way back.
func (p *routedPart) done(n int) {
	if p.left.Add(int64(-n)) == 0 {
		p.call.r.leave(p.tickets)
	}
}

// end ends the part of a split unit. The unit has its fate when both parts have theirs.
func (c *routed) end(way route.Path, at int, err *Error) {
	s := c.splits[at]
	c.mu.Lock()
	if err != nil && s.err == nil {
		mine := *err
		if n := mine.Output; n >= 0 && n < len(s.outputs[way]) {
			mine.Output = s.outputs[way][n]
		}
		s.err = &mine
	}
	s.left--
	over := s.left == 0
	c.mu.Unlock()
	if !over {
		return
	}
	if s.err != nil {
		c.to.Failed(at, s.err)
	} else {
		c.to.Acked(at, 1)
		if s.source.Epoch != 0 {
			c.r.note([]Unit{{Source: s.source}})
		}
	}
	c.r.ended()
}

// ended counts a split unit off.
func (r *router) ended() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.split--
}

// note tells the sidecar of inputs that are done, if it knows what this process holds.
func (r *router) note(units []Unit) {
	if len(units) == 0 {
		return
	}
	r.mu.Lock()
	joined := r.joined
	r.mu.Unlock()
	if joined {
		r.side.note(units)
	}
}
