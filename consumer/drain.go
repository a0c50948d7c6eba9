package consumer

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/internal/assignment"
)

// beginDrain stops Start and counts what runs. drain.done gets a value when all of that is done.
func (p *partition) beginDrain(why error) {
	p.stopped.Store(true) // before the count: see Message.Start
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drain.why != nil || p.core.State().Over() {
		return
	}
	p.core.Happen(assignment.Drain)
	p.drain.why = why
	p.eachRunning(func(m *Message) {
		atomic.OrUint32(m.state(), awaited)
		p.drain.waiting++
	})
}

// eachRunning calls fn for every input that was started and has no outcome, under mu.
func (p *partition) eachRunning(fn func(*Message)) {
	for _, r := range p.hand.runs {
		if r == nil {
			continue
		}
		for i := range r.Messages {
			if s := atomic.LoadUint32(&r.states[i]); s&started != 0 && s&(done|failed) == 0 {
				fn(&r.Messages[i])
			}
		}
	}
}

// awaitDrain waits until what ran at beginDrain has an outcome, or the deadline.
func (p *partition) awaitDrain(deadline <-chan time.Time, late *bool) {
	for {
		p.mu.Lock()
		waiting := p.drain.waiting
		p.mu.Unlock()
		if waiting == 0 || *late {
			return
		}
		select {
		case <-p.drain.done:
		case <-deadline:
			*late = true
		}
	}
}

// drains tells whether something is waited for that ran at beginDrain.
func (p *partition) drains() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drain.waiting > 0
}

// abandoned tells what still runs.
func (p *partition) abandoned() (a Abandoned) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.Topic, a.Partition = p.assignment.Topic, p.assignment.Partition
	p.eachRunning(func(m *Message) {
		if a.Count == 0 {
			a.First = m.offset()
		}
		a.Count++
	})
	return a
}

// fence ends the assignment: from here nothing changes what it was (S4).
func (p *partition) fence(why error) {
	p.stopped.Store(true)
	p.mu.Lock()
	p.around.metrics.ended(p, why)
	if !p.core.State().Over() {
		p.around.past.Add(p.core.Counts().Done)
	}
	p.core.Happen(assignment.Fence)
	if !errors.Is(why, ErrShutdown) { // then the whole file goes, or stays if the last commit failed
		p.entry.Release()
	}
	if p.drain.why == nil {
		p.drain.why = why
	}
	p.drain.waiting = 0
	p.hand.runs = nil
	p.dropParked()
	p.mu.Unlock()
	select {
	case p.drain.done <- struct{}{}: // a drain that still waits must not wait for what cannot count any more
	default:
	}
}

// unstart takes a Start back that came too late.
func (p *partition) unstart(m *Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := atomic.LoadUint32(m.state()); before&(done|failed) == 0 {
		atomic.StoreUint32(m.state(), 0)
		if before&awaited != 0 {
			p.arrived()
		}
	}
}

// arrived counts down what the drain waits for, under mu.
func (p *partition) arrived() {
	if p.drain.waiting--; p.drain.waiting == 0 {
		select {
		case p.drain.done <- struct{}{}:
		default:
		}
	}
}
