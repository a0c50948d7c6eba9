package pipeline

import (
	"time"

	"github.com/ackmark/ackmark/consumer"
)

// next returns the chunk to process, or nil when the lane is closed. What is finished is delivered
// before it waits.
func (l *lane) next() *chunk {
	switch {
	case l.p.cfg.BatchHandler != nil && l.p.shared != nil:
		return l.nextSharedBatch()
	case l.p.cfg.BatchHandler != nil:
		return l.nextBatch()
	case l.p.shared != nil:
		return l.nextShared()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chunk != nil { // under mu, since who explains looks into it
		l.chunk.recycle()
		l.chunk = nil
	}
	for l.backlog.empty() {
		if !l.rest(time.Time{}) {
			return nil
		}
	}
	l.chunk = l.backlog.pop()
	return l.chunk
}

// rest waits, under mu, for something to do, after what is finished was delivered. False: the lane
// is closed.
func (l *lane) rest(until time.Time) bool {
	if l.flight != nil {
		l.mu.Unlock()
		l.flush()
		l.mu.Lock()
		return true
	}
	if l.closed {
		return false
	}
	if l.routing != nil {
		l.mu.Unlock()
		took := l.routing.take(l)
		l.mu.Lock()
		if took || l.closed || !l.backlog.empty() {
			return true
		}
	}
	l.tried.forget()
	l.idle = true
	waitUntil(&l.wake, until)
	l.idle = false
	return true
}

// nextBatch returns the inputs of a batch: as many of one partition as are there, or as come within
// BatchWait.
func (l *lane) nextBatch() *chunk {
	clear(l.grab.msgs)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		a, until := l.backlog.due(time.Now(), l.p.cfg.MaxBatch)
		if a == nil && l.closed && !l.backlog.empty() {
			a = l.backlog.chunks[l.backlog.head].assignment
		}
		if a != nil {
			l.backlog.gather(&l.grab, a, l.p.cfg.MaxBatch)
			return &l.grab
		}
		if !l.rest(until) {
			return nil
		}
	}
}

func (l *lane) nextSharedBatch() *chunk {
	q, size := l.p.shared, l.p.cfg.MaxBatch
	clear(l.grab.msgs)
	if q.takeBatch(&l.grab, size, false) {
		return &l.grab
	}
	l.flush()
	l.tried.forget()
	if q.takeBatch(&l.grab, size, true) {
		return &l.grab
	}
	return nil
}

// forget drops the inputs of assignments that are over.
func (l *lane) forget(over []*consumer.Assignment) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backlog.forget(over)
}

// nextShared takes little while handlers are slow, since what it took waits behind its own handler,
// and more while they are fast.
func (l *lane) nextShared() *chunk {
	l.want = min(2*l.want, flightSize)
	if l.slow.Load() {
		l.want = 1
	}
	q := l.p.shared
	if q.tryTake(&l.grab, l.want) {
		return &l.grab
	}
	clear(l.grab.msgs)
	l.flush()
	l.tried.forget()
	if q.waitTake(&l.grab, l.want) {
		return &l.grab
	}
	return nil
}
