package txn

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// Config of a lane.
type Config struct {
	// ID is the transactional id that the lanes of a process make theirs of.
	ID string
	// Number is the lane's, from 0, and Lanes how many the process has.
	Number, Lanes int
	// Client makes a Kafka client of the user's options and these.
	Client func(...kgo.Opt) (*kgo.Client, error)
	// Partitioner is for records that name no partition. Default: by their keys, as the Java client
	// does.
	Partitioner kgo.Partitioner
	// Shared: several processes push to the lane, and one of them must not end it for the others.
	Shared bool
	// Every is the time from the end of one transaction to the end of the next, while there is
	// something to commit.
	Every time.Duration
	// Timeout is when the coordinator aborts a transaction.
	Timeout time.Duration
	// Records and Bytes are when a window is full. Half of what may be in hand, so that the other
	// half comes in while the window closes.
	Records int
	Bytes   int64
	Log     *slog.Logger
	// Took is how long transactions take. Nil: nobody reads it.
	Took *Took
	// Aborted is told of each transaction that was aborted. It must not block.
	Aborted func(Abort)
	// Over is told, once, that the lane has ended by itself: with ErrTaken, or for what somebody
	// has to change. Everything in hand fails, and so does what is pushed later.
	Over func(error)
}

// Lane commits what is pushed to it, one transaction at a time. See the package.
type Lane struct {
	*life
	cfg     Config
	plain   *kgo.Client   // asks
	grace   time.Duration // of Close
	started chan struct{} // closed when the ids are taken, or the lane has ended
	now     atomic.Uint32 // the State, for others
	begun   time.Time     // by Start

	inbox inbox

	// The goroutine's.
	state   State
	err     error // it ends
	backlog backlog
	intake  *intake
	window  *window
	topics  *topics
	offsets *offsets
	ids     *ids
	pace    pace
	stats   stats
	told    paced // in the log, of aborts
}

// New makes a lane, which begins with Start.
func New(cfg Config) (*Lane, error) {
	plain, err := cfg.Client(soon())
	if err != nil {
		return nil, err
	}
	l := &Lane{
		life: newLife(), cfg: cfg, plain: plain, started: make(chan struct{}), grace: closeGrace, backlog: backlog{parked: newParked()}, pace: newPace(cfg.Every, cfg.Timeout),
	}
	l.inbox.init()
	l.stats.reasons = telemetry.NewTally()
	l.ids = newIDs(&l.cfg, l.life, plain, l.Wake)
	l.topics = newTopics(l.life, plain, cfg.Shared)
	l.offsets = &offsets{life: l.life, cfg: &l.cfg, plain: plain, inputs: newInputs()}
	l.intake = newIntake(l.ids, l.topics, bounds{records: cfg.Records, bytes: cfg.Bytes})
	return l, nil
}

// Start takes the transactional ids, which aborts what a predecessor has open, and goes on in the
// background.
func (l *Lane) Start() {
	l.begun = time.Now()
	l.running.Go(l.run)
	l.running.Go(l.forgetting)
}

// Started is closed when the ids are taken, or the lane has ended.
func (l *Lane) Started() <-chan struct{} { return l.started }

// Client asks brokers; it produces nothing.
func (l *Lane) Client() *kgo.Client { return l.plain }

// State is where the lane stands.
func (l *Lane) State() State { return State(l.now.Load()) }

// Push hands over a run of units that were entered. It does not block.
func (l *Lane) Push(r Run) {
	if over := l.inbox.push(r); over != nil {
		fail(r, over)
		return
	}
	l.Wake()
}

// Flush ends what is in hand without waiting for more.
func (l *Lane) Flush() {
	l.inbox.flushes()
	l.Wake()
}

// Wake has the lane look at its claims again: a membership has changed, or one was given up.
func (l *Lane) Wake() { l.inbox.ring() }

// Close ends the lane. What is not committed by now fails with ErrClosed, and is aborted; only a
// transaction whose end is on its way, and not answered for some seconds, may be committed later.
func (l *Lane) Close() {
	l.stop(ErrClosed)
	l.running.Wait()
	l.ids.close()
	l.plain.Close()
}

// run is the lane.
func (l *Lane) run() {
	for l.state != Ended {
		e := l.step()
		if l.ctx.Err() != nil && e != landed && e != in && l.state != Committed && e != taken {
			e, l.err = stop, ErrClosed
		}
		next := transitions[l.state][e]
		if next == no {
			l.cfg.Log.Error("a lane cannot go on; this is a bug in Ackmark", "state", l.state, "event", e)
			next, l.err = Ended, fmt.Errorf("txn: %v in state %v", e, l.state)
		}
		l.state = next
		l.now.Store(uint32(next))
		if l.state == Fenced {
			l.state = Ended
		}
	}
	l.end()
}

// step does what the state asks for, and says what came of it.
func (l *Lane) step() event {
	switch l.state {
	case Starting:
		return l.begin()
	case Idle:
		return l.await()
	case Open:
		return l.fill()
	case Closing:
		return l.close()
	case Committed:
		return l.report()
	case Aborting:
		return l.abort()
	case Uncertain, Reinit:
		return l.renew()
	case Resolving:
		return l.look()
	}
	return stop
}

// ends turns an error that is for good into an event.
func (l *Lane) ends(err error) event {
	l.err = err
	if isTaken(err) {
		return taken
	}
	return stop
}

// begin takes the ids.
func (l *Lane) begin() event {
	for {
		err := checkFeature(l.ctx, l.plain)
		if err == nil {
			break
		}
		if isNoFeature(err) || l.ctx.Err() != nil {
			return l.ends(err)
		}
		l.cfg.Log.Warn("no broker has told yet which transactions it serves", "err", err)
		if !l.sleep(l.ctx, initPause) {
			return l.ends(context.Cause(l.ctx))
		}
	}
	if err := l.ids.takeAll(); err != nil {
		return l.ends(err)
	}
	close(l.started)
	return ready
}

// await waits for units.
func (l *Lane) await() event {
	if pause := l.pace.pause(); pause > 0 && !l.sleep(l.ctx, pause) {
		return stop
	}
	for {
		if err := l.ids.keep(); err != nil {
			return l.ends(err)
		}
		if err := l.receive(); err != nil {
			return l.ends(err)
		}
		if l.window == nil {
			l.window = l.intake.open(time.Now())
		}
		l.backlog.feed(l.window, l.intake)
		l.stats.parks(len(l.backlog.parked.runs) > 0, time.Now())
		if l.window.units > 0 {
			l.stats.waits(time.Now())
			return work
		}
		l.stats.idle()
		l.backlog.taken()
		t := time.NewTimer(min(time.Until(l.ids.keepAt()), l.ids.lookEvery))
		select {
		case <-l.inbox.wakes:
		case <-t.C:
			l.ids.look()
		case <-l.ctx.Done():
			t.Stop()
			return stop
		}
		t.Stop()
		l.window.opened = time.Now()
	}
}

// receive takes over what was pushed, and looks whether parked units can go on, and ids that were
// set aside.
func (l *Lane) receive() error {
	l.backlog.receive(&l.inbox)
	l.backlog.parked.absent.back(func(group string, after time.Duration) {
		l.cfg.Log.Info("a group's coordinator answers again: its units go on", "group", group, "after", after)
	})
	l.backlog.unpark()
	return l.ids.takeBack()
}

// fill takes units in until the window is due, full, or cannot be committed any more.
func (l *Lane) fill() event {
	w := l.window
	for last, units := time.Now(), 0; ; {
		if err := l.receive(); err != nil {
			return l.ends(err)
		}
		full, now := l.backlog.feed(w, l.intake), time.Now()
		if w.units > units {
			last, units = now, w.units
		}
		at := l.pace.closes(w, last)
		switch {
		case w.why != nil:
			return broken
		case w.failed():
			return failed
		case full, l.backlog.flushing, !now.Before(at):
			l.backlog.taken()
			return due
		}
		t := time.NewTimer(at.Sub(now))
		select {
		case <-l.inbox.wakes:
		case <-w.fail:
		case <-t.C:
		case <-l.ctx.Done():
			t.Stop()
			return stop
		}
		t.Stop()
	}
}

// end fails what is in hand.
func (l *Lane) end() {
	err := l.err
	if err == nil {
		err = ErrClosed
	}
	rest := l.backlog.rest(l.inbox.close(err))
	if w := l.window; w != nil {
		l.giveBack(w, err)
		rest = append(slices.Clone(w.runs), rest...)
	}
	for _, r := range rest {
		fail(r, err)
	}
	select {
	case <-l.started:
	default:
		close(l.started)
	}
	if l.cfg.Over != nil && !isClosed(err) {
		l.cfg.Over(err)
	}
}

// fail ends all units of a run without a commit.
func fail(r Run, err error) {
	for i := r.From; i < r.To; i++ {
		r.Batch.Failed(i, err)
		if st := r.Batch.Unit(i).Claim; st != nil {
			st.decided(1)
		}
	}
}
