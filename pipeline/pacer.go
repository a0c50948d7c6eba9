package pipeline

import (
	"context"
	"sync/atomic"
	"time"
)

// paceEvery bounds how long a finished unit waits in a lane while the next handler runs: at most
// two ticks.
const paceEvery = 2 * time.Millisecond

// pacer delivers for lanes whose handlers take long. Lanes cannot do it themselves: they run
// handlers, and asking the clock before each would cost as much as all the rest. It sleeps until a
// lane begins a handler while it holds something finished, or something waits.
type pacer struct {
	p      *Pipeline
	asleep atomic.Bool
	poked  chan struct{}
	seen   []paceMark // per lane; the pacer's own, like idle
	idle   []*lane    // of the look that is made
}

type paceMark struct {
	flight *flight
	again  bool
	waits  bool
	calls  uint64
	pace   uint64 // calls between looks, each look counts half of what the next one does
}

func newPacer(p *Pipeline) *pacer {
	return &pacer{p: p, poked: make(chan struct{}, 1)}
}

// poke wakes the pacer. It costs one load while it is awake.
func (c *pacer) poke() {
	if c.asleep.Load() && c.asleep.CompareAndSwap(true, false) {
		c.poked <- struct{}{}
	}
}

func (c *pacer) run(ctx context.Context) {
	c.seen = make([]paceMark, len(c.p.lanes))
	for {
		// Asleep first, then a last look: a lane that began to hold something before the look is
		// seen by it, and one that begins after it sees asleep and pokes. The other way round it
		// could fall between the two, and its units wait for a hanging handler.
		c.asleep.Store(true)
		if c.look() {
			c.wakeUp()
		} else {
			select {
			case <-c.poked:
			case <-ctx.Done():
				return
			}
		}
		if !c.awake(ctx) {
			return
		}
	}
}

// wakeUp is a poke by the pacer itself.
func (c *pacer) wakeUp() {
	if !c.asleep.CompareAndSwap(true, false) {
		<-c.poked // a lane was faster
	}
}

// awake ticks until no lane has held anything for two ticks.
func (c *pacer) awake(ctx context.Context) bool {
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	for idle := 0; idle < 2; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
		idle++
		if c.look() {
			idle = 0
		}
	}
	return true
}

// look delivers what was there at the last look already. It tells whether any lane holds something.
func (c *pacer) look() bool {
	held, behind := false, 0
	c.idle = c.idle[:0]
	for i, l := range c.p.lanes {
		s := &c.seen[i]
		l.mu.Lock()
		f, again, waits, calls := l.flight, len(l.again) > 0, l.waits(), l.calls
		pace := min(s.pace, fastPace)/2 + calls - s.calls
		if waits && s.waits && pace < 2*behindFrom && !l.noHelp() {
			l.behind.Store(true)
			behind++
		} else {
			l.behind.Store(false)
			if l.idle {
				c.idle = append(c.idle, l)
			}
		}
		l.mu.Unlock()
		late := f != nil && f == s.flight
		if late && calls == s.calls {
			l.slow.Store(true)
		}
		if late || again && s.again {
			c.flush(l)
			f, again = nil, false
		}
		*s = paceMark{f, again, waits, calls, pace}
		held = held || waits || l.holds()
	}
	c.help(behind)
	return held
}

// help wakes an idle lane for each that is behind: it takes keys.
func (c *pacer) help(behind int) {
	if r := c.p.dispatcher.routing; r != nil {
		r.anyBehind.Store(behind > 0)
	}
	for _, l := range c.idle[:min(behind, len(c.idle))] {
		l.wake.Signal()
	}
}

// flush has a goroutine of its own, since it may block while the producer is full; one per lane at
// a time.
func (c *pacer) flush(l *lane) {
	if l.paced.CompareAndSwap(false, true) {
		c.p.side.Go(func() {
			defer l.paced.Store(false)
			l.flush()
		})
	}
}

func (l *lane) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flight != nil || len(l.again) > 0
}
