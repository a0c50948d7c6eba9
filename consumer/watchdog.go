package consumer

import (
	"sync/atomic"
	"time"
)

const (
	maintainEvery = time.Second
	stuckGrace    = 30 * time.Second // at most; never longer than HandlerTimeout
	stalledAfter  = time.Minute      // a mark that waits for so long is worth a warning
	stalledRepeat = time.Minute
)

// stuckState is the watchdog's memory of a partition, under its lock.
type stuckState struct {
	index     uint64 // the oldest started input at the last look
	since     int64  // when it was first seen so
	known     bool
	cancelled bool // its context was ended for this index
	warned    int64
}

// watch looks at the oldest input of a partition that is not done. A younger one that hangs becomes
// the oldest in time. Its context is cancelled when the time is over; the error is for one that
// ignores that.
func (p *partition) watch(now int64, timeout time.Duration) error {
	p.mu.Lock()
	m := p.oldest()
	if m == nil || p.core.State().Over() {
		p.stuck.known = false
		p.mu.Unlock()
		return nil
	}
	p.warnStalled(m, now)
	state := atomic.LoadUint32(m.state())
	if timeout <= 0 || state&started == 0 || state&failed != 0 {
		p.stuck.known = false
		p.mu.Unlock()
		return nil
	}
	s := &p.stuck
	if !s.known || s.index != m.index() {
		s.known, s.index, s.since = true, m.index(), now
	}
	running := time.Duration(now - s.since)
	err := &StuckError{Topic: p.assignment.Topic, Partition: p.assignment.Partition, Offset: m.offset(), Running: time.Duration(now - m.run.at)}
	cancelNow := running >= timeout && !s.cancelled
	if cancelNow {
		s.cancelled = true
	}
	giveUp := s.cancelled && running >= timeout+min(timeout, stuckGrace)
	p.mu.Unlock()
	if cancelNow {
		p.around.log.Error("handler timeout: its context is cancelled", "topic", err.Topic, "partition", err.Partition, "offset", err.Offset, "running", running)
		p.end(err)
	}
	if giveUp {
		return err
	}
	return nil
}

// warnStalled says now and then that a mark waits, and for which input. p.mu is held.
func (p *partition) warnStalled(m *Message, now int64) {
	if now-m.run.at < int64(stalledAfter) || p.stuck.warned != 0 && now-p.stuck.warned < int64(stalledRepeat) || p.halted != nil {
		return
	}
	p.stuck.warned = now
	p.around.log.Warn("nothing is committed beyond an input that is not done", "topic", p.assignment.Topic, "partition", p.assignment.Partition,
		"offset", m.offset(), "age", time.Duration(now-m.run.at).Round(time.Second), "started", atomic.LoadUint32(m.state())&started != 0,
		"done_above", p.core.Counts().DoneAbove)
}

// recover gives the partition a living context again: the input that its context was cancelled for
// got done after all. p.mu is held.
func (p *partition) recover(index uint64, n int) {
	if p.stuck.index >= index && p.stuck.index < index+uint64(n) && p.drain.why == nil {
		p.stuck.cancelled = false
		p.renewContext()
	}
}

// oldest finds the first input that is not done, under mu: nil when there is none.
func (p *partition) oldest() *Message {
	_, index, ok := p.core.Oldest()
	if !ok {
		return nil
	}
	for _, r := range p.hand.runs {
		if r != nil && index >= r.first && index < r.first+uint64(len(r.Messages)) {
			return &r.Messages[index-r.first]
		}
	}
	return nil
}
