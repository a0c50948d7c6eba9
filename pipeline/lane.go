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
	sharing

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

	slot uint16 // of the key of the input that was started last, where lanes share keys

	times      *handlerTimes
	batchTrace *traced
	mayRoot    bool // an input of this chunk that has no trace context may begin a trace
}

func newLane(p *Pipeline) *lane {
	l := &lane{p: p, serving: serving{want: 1}, ended: make(chan struct{}), delivering: make(chan struct{}, 1), backlog: newBacklog(p.cfg.BatchWait)}
	l.wake.L = &l.mu
	l.times = p.metrics.handlerTimes()
	if len(p.cfg.Middleware.AroundInput) > 0 {
		l.input = wrap(Handler(HandlerFunc(l.attempts)), p.cfg.Middleware.AroundInput)
	}
	return l
}

func (l *lane) push(c *chunk) {
	l.mu.Lock()
	l.backlog.push(c)
	l.noneFree = false
	idle, waits := l.idle, l.waits()
	l.mu.Unlock()
	switch {
	case idle:
		l.wake.Signal()
	case waits: // behind a handler that began when nothing did, maybe
		l.p.pacer.poke()
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
	l.running, l.stopped = nil, true
	l.mu.Unlock()
	if m != nil {
		l.p.fatal(m, errors.New("the handler ended its goroutine (runtime.Goexit, or FailNow of a test)"))
	}
}

// process runs the handler on a chunk. False: the lane was abandoned, or its goroutine must end.
func (l *lane) process(c *chunk) bool {
	l.enter(c.assignment)
	if l.p.cfg.BatchHandler != nil {
		return l.processBatches(c)
	}
	m := l.start(c)
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
				m = l.start(c)
				break
			}
			following, again, ok := l.settle(m, r, c)
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

// start is the chunk's, under mu: another lane may take what was not started.
func (l *lane) start(c *chunk) *consumer.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.start(l)
}

// start returns the next input that its partition still wants, or nil at the end of the chunk.
func (c *chunk) start(l *lane) *consumer.Message {
	for c.next < len(c.msgs) {
		m := c.msgs[c.next]
		if l.routing != nil {
			l.slot = c.slots[c.next]
		}
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
	l.mayRoot = l.p.traces != nil
	l.times.enter(a.Topic)
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
	if l.flight != nil || l.waits() {
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

// settle puts a finished input away, starts the following one of the chunk and, when nothing stands
// against it, begins it: again tells that it did. One lock does for all.
func (l *lane) settle(m *consumer.Message, r outcome, c *chunk) (following *consumer.Message, again, ok bool) {
	l.mu.Lock()
	if l.abandoned {
		l.mu.Unlock()
		return nil, false, false
	}
	l.add(m, r)
	following = c.start(l)
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
	return following, again, true
}

// add puts a finished unit into the flight, under mu.
func (l *lane) add(m *consumer.Message, r outcome) {
	f := l.open()
	if r.attempts > 1 {
		f.noteAttempts(r.attempts)
	}
	f.addNew(m, r.outputs, false)
	l.noteSlot(f)
}

// noteSlot is for the unit that was added last.
func (l *lane) noteSlot(f *flight) {
	if l.routing != nil {
		f.slots = append(f.slots, l.slot)
	}
}

// open is the flight that collects, under mu.
func (l *lane) open() *flight {
	if l.flight == nil {
		l.flight = newFlight(l.p, l, l.work.assignment)
	}
	return l.flight
}

// putAway ends an input that has no outputs to deliver.
func (l *lane) putAway(m *consumer.Message, r outcome) {
	switch r.kind {
	case rejected:
		l.p.rejecting(m, r.rejection)
		if l.p.cfg.DeadLetter.Topic == "" {
			l.p.undone(m, &RejectedError{Input: inputOf(m), Attempts: r.rejection.attempts, Err: r.rejection.err})
			return
		}
		letter := l.p.deadLetter(m, r.rejection) // not under mu: the error's Error may call State
		l.mu.Lock()
		f := l.open()
		f.addLetter(m, r.rejection, letter)
		l.noteSlot(f)
		full := l.slow.Load() || len(l.flight.units) == flightSize
		l.mu.Unlock()
		if full {
			l.flush()
		}
	case stops:
		l.stop = true
		l.mu.Lock()
		l.stopped = true
		l.mu.Unlock()
		l.p.fatal(m, r.rejection.err)
	case givenBack:
		l.p.counts.dropped.Add(1)
		l.p.undone(m, consumer.ErrRevoked) // no outcome: it tells a drain not to wait
	}
}
