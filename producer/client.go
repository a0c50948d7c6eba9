package producer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// client is the producer over a sidecar.
//
// Goroutines, all started by start and awaited by Close: run connects, and keeps connecting for
// ever (client_run.go); while a stream lives, its writer, reader and watchdog (stream.go);
// reportLoop alone calls Reporters, so that a slow one stops neither the stream nor a Deliver.
//
// mu guards everything below it. It is held while units are encoded and while reports are booked,
// never while something is sent, received or reported. The writer waits on writable.
type client struct {
	cfg     DialConfig
	done    context.Context // ends when Close gives up on what is left; its cause is ErrClosed
	end     context.CancelFunc
	tasks   sync.WaitGroup // run and reportLoop
	retry   chan struct{}  // capacity 1: try to connect now
	wake    chan struct{}  // capacity 1: reportLoop has work
	stopped chan struct{}  // closed when run has returned
	name    string         // random: tells it from another client with its session's id

	mu        sync.Mutex
	writable  *sync.Cond
	started   bool
	closed    bool
	leaving   bool   // Goodbye was said: no other stream
	fatal     *Error // never connects: configuration, version or token refused
	win       *window
	topics    topicTable
	epochs    epochs
	tally     tally
	waiters   deque[*waiter]
	calls     uint64
	limit     cost    // what may be taken: the credit, and our own limits
	maxUnit   int     // largest unit that the sidecar takes, in bytes; 0: not known yet
	stream    *stream // nil: not connected
	lastErr   error   // why the last attempt failed
	attempts  int
	changed   chan struct{} // closed and replaced at every change of stream, fatal and attempts
	releases  map[uint64]*release
	releaseID uint64
	session   session
	onFenced  []func(*Error)
	onRefused []func(*Error)
	fall      fallback
	heritage  heritage

	fates     []fate          // for reportLoop
	telling   bool            // reportLoop has taken some and is at it
	listening []chan struct{} // closed when it is not
	dropped   int             // units failed by Close
	idle      bool            // the writer waits on writable
}

func newClient(cfg DialConfig) *client {
	c := &client{cfg: cfg, retry: make(chan struct{}, 1), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		changed: make(chan struct{}), releases: map[uint64]*release{}, session: session{id: cfg.SessionID}}
	c.name = randomName(12)
	c.writable = sync.NewCond(&c.mu)
	c.done, c.end = context.WithCancel(context.Background())
	c.fall.mode = cfg.Fallback.Mode
	c.win = newWindow(newFramePool(max(cfg.MaxFrameBytes, 1)), c.addFate)
	c.limit = c.ownLimit()
	return c
}

func (c *client) ownLimit() cost { return cost{c.cfg.MaxBufferedBytes, c.cfg.MaxBufferedRecords} }

// ready starts the client on first use and tells why it cannot take anything. The caller holds mu.
func (c *client) ready() error {
	switch {
	case c.closed:
		return errClosed()
	case c.fatal != nil:
		return c.fatal
	case !c.started:
		c.started = true
		c.fall.began = time.Now()
		c.tasks.Go(c.run)
		c.tasks.Go(c.reportLoop)
	}
	return nil
}

// announce wakes those who wait for a change of the connection. The caller holds mu.
func (c *client) announce() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// control queues a message for the writer, before any unit that is not sent yet. The caller holds
// mu and knows that there is a stream.
func (c *client) control(m *sidecarpb.DeliveryStreamRequest) {
	c.stream.controls = append(c.stream.controls, m)
	c.writable.Broadcast()
}

// Assign implements Producer. Without a stream it is only remembered: every new stream begins with
// what is held then.
func (c *client) Assign(ctx context.Context, m Membership, added []Assignment) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fresh := c.epochs.assign(m, added)
	if c.stream != nil {
		c.warnOfCluster(m)
		for _, msg := range assignMessages(m, fresh, c.maxUnit) {
			c.control(msg)
		}
	}
	return nil
}

// Release implements Producer. Units of these epochs that were not sent are dropped at once; for
// those that were, the sidecar is asked, if need be on the stream that goes on with the session.
// From its return on nothing of these epochs is sent: they are not live any more, and only live
// ones get from a broken stream to the next.
func (c *client) Release(ctx context.Context, list []uint64) error {
	c.mu.Lock()
	gone := c.epochs.release(list)
	if len(gone) == 0 {
		c.mu.Unlock()
		return nil
	}
	var answered chan struct{}
	if c.stream == nil && c.fall.way == nil && !c.session.resumes {
		c.win.failWhere(0, c.notHeld)
	} else {
		c.win.rebuild(c.win.unsent, c.win.unsent, c.notHeld)
		asked := c.askRelease(gone)
		if c.stream != nil || c.win.holdsSent(gone) {
			answered = asked
		}
	}
	c.afterReports()
	c.mu.Unlock()
	if answered != nil {
		select {
		case <-answered: // or the session is lost
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return c.told(ctx)
}

// askRelease sends Release, now or on the next stream of the session, and returns what is closed at
// its answer, or when the session is lost. The caller holds mu.
func (c *client) askRelease(epochs []uint64) chan struct{} {
	c.releaseID++
	r := &release{c.releaseID, epochs, make(chan struct{})}
	c.releases[r.id] = r
	if c.stream != nil {
		c.control(r.message())
	}
	return r.answered
}

// told waits until the Reporters were told everything that is known by now: what a revoke commits
// next must include it.
func (c *client) told(ctx context.Context) error {
	c.mu.Lock()
	if c.tally.pending == 0 { // nothing on its way to a Reporter; reportLoop may be gone
		c.mu.Unlock()
		return nil
	}
	reached := make(barrier)
	c.calls++
	c.addFate(fate{callRef{c.calls, reached, c.tally.add(1)}, 0, 1, nil})
	c.notify()
	c.mu.Unlock()
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// barrier is a Reporter that marks a place in the queue of reports.
type barrier chan struct{}

// Acked implements Reporter.
func (b barrier) Acked(int, int) { close(b) }

// Failed implements Reporter.
func (b barrier) Failed(int, *Error) { close(b) }

// notHeld names the error of units whose epoch was released.
func (c *client) notHeld(s slotInfo) *Error {
	if c.epochs.holds(s.epoch) {
		return nil
	}
	return errReleased(s.epoch)
}

// Flush implements Producer.
func (c *client) Flush(ctx context.Context) error {
	c.mu.Lock()
	open := c.tally.seal()
	c.mu.Unlock()
	return waitAll(ctx, open)
}

// goodbyeTimeout is how long Close waits for the sidecar to end the stream after Goodbye.
const goodbyeTimeout = time.Second

// Close implements Producer.
func (c *client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.grant() // who waits for space learns that it is over
	started := c.started
	c.mu.Unlock()
	defer c.end()
	if !started {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.CloseTimeout)
	defer cancel()
	_ = c.Flush(ctx) // what is left over is counted below
	c.goodbye()
	c.end()
	<-c.stopped // run has failed the rest

	c.mu.Lock()
	open := c.tally.seal()
	c.mu.Unlock()
	_ = waitAll(context.Background(), open)
	c.notify() // reportLoop sees stopped and an empty list
	c.tasks.Wait()
	if c.dropped > 0 {
		return fmt.Errorf("%w with %d units not acknowledged after CloseTimeout (%v): their inputs stay uncommitted",
			ErrClosed, c.dropped, c.cfg.CloseTimeout)
	}
	return nil
}

// goodbye ends the session cleanly, if there is a stream: no unit is sent any more, the sidecar
// finishes what it has and ends the stream.
func (c *client) goodbye() {
	c.mu.Lock()
	s := c.stream
	c.leaving = true
	if s != nil {
		c.control(goodbyeMessage())
	}
	c.mu.Unlock()
	if s == nil {
		return
	}
	t := time.NewTimer(min(goodbyeTimeout, c.cfg.CloseTimeout))
	defer t.Stop()
	select {
	case <-s.ctx.Done():
	case <-t.C:
	}
}

func goodbyeMessage() *sidecarpb.DeliveryStreamRequest {
	return &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Goodbye{Goodbye: &sidecarpb.Goodbye{}}}
}
