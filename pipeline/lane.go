package pipeline

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/consumer"
)

// fastHandler is the time above which a handler is slow: holding finished units back while one runs
// would be felt.
const fastHandler = 200 * time.Microsecond

// lane runs handlers one after the other: one goroutine, one queue. What it has finished collects
// in a flight, which is delivered when it is full, when there is nothing more to do, when the
// inputs of another assignment begin, when handlers turn out to be slow, and by the pacer when a
// handler takes long.
//
// The fields up to mu belong to the lane's goroutine.
type lane struct {
	p     *Pipeline
	input Handler
	ended chan struct{}

	serving
	calling

	slow  atomic.Bool // handlers are: deliver before the next one. Set by the pacer, cleared by the lane
	paced atomic.Bool // the pacer delivers for it now

	mu      sync.Mutex
	wake    sync.Cond
	backlog backlog // ordered: its chunks, first in first out
	closed  bool
	idle    bool
	flight  *flight   // finished units that are not delivered yet
	again   []failure // units to deliver again, before flight

	// delivering is held around Deliver, which may block: the pacer delivers for a lane whose
	// handler runs. Whoever holds it takes the oldest flight, so flights keep their order. Taken
	// before mu. A channel, since a test in virtual time cannot wait for a mutex.
	delivering chan struct{}
}

// serving is what a lane's goroutine works on. Nobody else touches it.
type serving struct {
	chunk *chunk // ordered: what it works on
	grab  chunk  // unordered, and for a batch handler: what it took from the queue
	want  int    // unordered: how much to take at once
	stop  bool   // an input stopped the pipeline: nothing is started behind it, or it would overtake the input
	left  bool   // the input that runs is given back: no middleware can make an outcome of it
	tried trial
	works workCache
	work  *work // of the chunk that runs
	batch []batchInput
}

func newLane(p *Pipeline) *lane {
	l := &lane{p: p, serving: serving{want: 1}, ended: make(chan struct{}), delivering: make(chan struct{}, 1), backlog: newBacklog(p.cfg.BatchWait)}
	l.wake.L = &l.mu
	if len(p.cfg.Middleware.AroundInput) > 0 {
		l.input = wrap(Handler(HandlerFunc(l.attempts)), p.cfg.Middleware.AroundInput)
	}
	return l
}

func (l *lane) push(c *chunk) {
	l.mu.Lock()
	l.backlog.push(c)
	idle := l.idle
	l.mu.Unlock()
	if idle {
		l.wake.Signal()
	}
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wake.Signal()
}

// run works until the lane is closed and its queue is empty.
func (l *lane) run() {
	defer close(l.ended)
	defer l.works.close()
	normal := false
	defer func() {
		if !normal { // runtime.Goexit in a handler (t.FailNow of a test): recover does not see it
			l.lost()
		}
	}()
	for c := l.next(); c != nil && l.process(c); c = l.next() {
	}
	normal = true
}

// lost ends the input whose handler took the goroutine along. Nothing else would, and the lane with
// all its keys would stand still for ever.
func (l *lane) lost() {
	l.mu.Lock()
	m := l.running
	l.running = nil
	l.mu.Unlock()
	if m != nil {
		l.p.fatal(m, errors.New("the handler ended its goroutine (runtime.Goexit, or FailNow of a test)"))
	}
}

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
	if l.chunk != nil {
		l.chunk.recycle()
		l.chunk = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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

// process runs the handler on a chunk. False: the lane was abandoned, or its goroutine must end.
func (l *lane) process(c *chunk) bool {
	l.enter(c.assignment)
	if l.p.cfg.BatchHandler != nil {
		return l.processBatches(c)
	}
	m := c.start(l)
	for m != nil {
		if !l.begin(m) {
			return false
		}
		for m != nil {
			r := l.handle(m)
			if r.kind != delivers {
				if !l.end() {
					return false
				}
				// Put away before the next one is started: where this one halts its partition, what
				// is behind it must not overtake it (S7).
				l.putAway(m, r)
				m = c.start(l)
				break
			}
			// The next input is started before this one is put away, so that one lock does for
			// both.
			following := c.start(l)
			again, ok := l.settle(m, r, following)
			if !ok {
				return false
			}
			m = following
			if !again {
				break
			}
		}
	}
	return true
}

// start returns the next input that its partition still wants, or nil at the end of the chunk.
func (c *chunk) start(l *lane) *consumer.Message {
	for c.next < len(c.msgs) {
		m := c.msgs[c.next]
		c.next++
		if !l.stop && m.Start() {
			return m
		}
		l.p.counts.dropped.Add(1)
	}
	return nil
}

// enter prepares for the inputs of an assignment. A flight holds units of one assignment only: it
// is delivered under that assignment's context.
func (l *lane) enter(a *consumer.Assignment) {
	l.mu.Lock()
	other := l.flight != nil && l.flight.assignment != a
	l.mu.Unlock()
	if other {
		l.flush()
	}
	l.work = l.works.of(a)
}

// begin enters the call of m's handler. What the last one finished is delivered first if handlers
// are slow.
func (l *lane) begin(m *consumer.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.beginLocked(m, l.work)
}

func (l *lane) beginLocked(m *consumer.Message, w *work) bool {
	if l.abandoned {
		return false
	}
	if l.timedOut.Load() {
		// Set for the call before this one, at its end or after: this one gets a fresh context.
		l.timedOut.Store(false)
		if w == l.work {
			l.work = l.works.renew(w)
			w = l.work
		}
	}
	l.running = m
	if l.cancelOf != w { // a pointer that is not written costs the garbage collector nothing
		l.cancel, l.cancelOf = w.cancel, w
	}
	l.calls++
	if l.flight != nil {
		l.p.pacer.poke()
	}
	return true
}

// end leaves a handler call without an outcome (a retry follows). False: the lane was abandoned.
func (l *lane) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = nil
	return !l.abandoned
}

// settle puts a finished input away and, when nothing stands against it, begins the following one:
// again tells that it did.
func (l *lane) settle(m *consumer.Message, r outcome, following *consumer.Message) (again, ok bool) {
	l.mu.Lock()
	if l.abandoned {
		l.mu.Unlock()
		return false, false
	}
	l.add(m, r)
	full := l.slow.Load() || len(l.flight.units) == flightSize
	if again = following != nil && !full; again {
		l.beginLocked(following, l.work)
	} else {
		l.running = nil
	}
	l.mu.Unlock()
	if full {
		l.flush()
	}
	return again, true
}

// add puts a finished unit into the flight, under mu.
func (l *lane) add(m *consumer.Message, r outcome) {
	if l.flight == nil {
		l.flight = newFlight(l.p, l, l.work.assignment)
	}
	if r.kind == rejected {
		l.flight.addLetter(m, r.rejection)
		return
	}
	if r.attempts > 1 {
		l.flight.noteAttempts(r.attempts)
	}
	l.flight.addNew(m, r.outputs, false)
}

// putAway ends an input that has no outputs to deliver.
func (l *lane) putAway(m *consumer.Message, r outcome) {
	switch r.kind {
	case rejected:
		l.p.rejecting(m, r.rejection)
		if l.p.cfg.DeadLetter.Topic == "" {
			m.Done(&RejectedError{Input: inputOf(m), Attempts: r.rejection.attempts, Err: r.rejection.err})
			return
		}
		l.mu.Lock()
		l.add(m, r)
		full := l.slow.Load() || len(l.flight.units) == flightSize
		l.mu.Unlock()
		if full {
			l.flush()
		}
	case stops:
		l.stop = true
		l.p.fatal(m, r.rejection.err)
	case givenBack:
		l.p.counts.dropped.Add(1)
		m.Done(consumer.ErrRevoked) // no outcome: it tells a drain not to wait
	}
}
