// Package consumer reads a Kafka group's partitions and commits an offset only when every input below it is done.
//
// A pipeline, or a loop over [Consumer.Messages], gets inputs in fetch order and calls Done on each, in any order, from any goroutine.
// What is committed is the ack mark of each partition: the first offset that is not done.
package consumer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Hooks are called at the points of a rebalance, one at a time, from the group's goroutine (at shutdown: from Run's). They must not call
// Close, and should return well within the RebalanceTimeout.
type Hooks struct {
	// Assigned is called after every completed rebalance, before the first input of the added partitions is handed out. added may be empty.
	Assigned func(ctx context.Context, m Membership, added []*Assignment)
	// Revoking is called when partitions leave, after what ran was drained (or the drain deadline passed) and before the last commit.
	// ctx ends at the revoke deadline.
	Revoking func(ctx context.Context, leaving []*Assignment)
	// Lost is called when partitions were lost: another member may hold them already, nothing is committed.
	Lost func(lost []*Assignment)
}

// Consumer reads one group. It runs once; New makes another.
//
// Goroutines, all of which Run waits for: Run's own polls; commitLoop commits by time; careLoop resumes partitions and watches for
// stuck inputs; waitLoop begins partitions that could not be read at first; one checks the start. The group's callbacks come from the client's goroutine.
//
// Locks, in the order they may be taken: hookMu (one rebalance step or shutdown at a time), commitMu (one commit in flight), flowMu,
// partsMu, partition.mu. The client's own locks are never held when ours are taken, except the gate that keeps polls out of callbacks.
type Consumer struct {
	cfg       Config
	log       *slog.Logger
	maxPoll   int
	meanSize  int64     // of records, for pollLimit; the poll goroutine's
	base      time.Time // of the monotonic nanoseconds in run.at
	dials     dialLog
	inflation *inflation
	refused   bool        // the poll loop's: a batch was refused for what is held decompressed
	connected atomic.Bool // a broker was reached

	phaseMu  sync.Mutex
	phase    phase
	cancel   context.CancelCauseFunc
	finished chan struct{}
	result   error
	closing  atomic.Bool
	runCtx   atomic.Pointer[context.Context]

	client     atomic.Pointer[kgo.Client]
	identity   identity
	membership atomic.Pointer[Membership]
	released   atomic.Bool // the shutdown let everything go
	joining    atomic.Bool // a join runs, or is about to: commits go out by sendInJoin; set under commitMu

	partsMu sync.RWMutex
	parts   map[string]map[int32]*partition

	hookMu   gate
	commitMu gate
	flowMu   sync.Mutex

	commitKick chan struct{}
	fenceKick  chan struct{}
	flowKick   chan struct{}
	roomKick   chan struct{} // memory was given back while awaiting
	awaiting   atomic.Bool   // the poll loop waits for memory
	parking    bool          // records are parked; the poll goroutine's
	pollEnd    atomic.Pointer[context.CancelFunc]
	doneSince  atomic.Int64
	wg         sync.WaitGroup

	troubles troubles
	waiting  waiting                     // partitions that are ours and cannot be read yet
	stock    inventory                   // what was there when this member joined, with Latest
	owned    map[topicPartition]bool     // what the client holds for us: true once its stay began; under hookMu
	again    map[topicPartition]lostStay // of partitions that were lost and did not come back yet; under hookMu
	found    map[topicPartition]found    // what the group has, of the answer that the next stays begin from; under hookMu
	onHalted func(*HaltError)            // of the iterators; set before Run

	commitWay
	fencedBy atomic.Pointer[error]
}

type phase int

const (
	phaseNew phase = iota
	phaseRunning
	phaseEnded
)

var errClosing = errors.New("consumer: Close was called")

// epochs numbers the assignment epochs of this process.
var epochs atomic.Uint64

// New checks the configuration; it does not connect. Errors are *ConfigError and *OptionError.
func New(cfg Config) (*Consumer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := cfg.adopt(); err != nil {
		return nil, err
	}
	return &Consumer{
		cfg:        cfg,
		log:        cfg.Logger.With("group", cfg.Group),
		maxPoll:    min(max(cfg.MaxRecords/8, 1), 8192),
		base:       time.Now(),
		identity:   identity{number: consumers.Add(1)},
		finished:   make(chan struct{}),
		parts:      map[string]map[int32]*partition{},
		owned:      map[topicPartition]bool{},
		hookMu:     newGate(),
		commitMu:   newGate(),
		commitKick: make(chan struct{}, 1),
		fenceKick:  make(chan struct{}, 1),
		flowKick:   make(chan struct{}, 1),
		roomKick:   make(chan struct{}, 1),
		waiting:    waiting{parts: map[topicPartition]*waiter{}, kick: make(chan struct{}, 1)},
		again:      map[topicPartition]lostStay{}, found: map[topicPartition]found{},
	}, nil
}

// Run joins the group and hands batches to deliver, from the poll goroutine, until ctx ends or the consumer stops by itself; then it
// drains, commits, leaves the group and returns. deliver must not block for long: memory is bounded by the budget, not by it, and
// rebalances wait for it (a slow one is logged).
//
// It returns nil after a clean stop, an *AbandonedError when the drain deadline passed, an *UncommittedError or *LeaveError when the last commit or
// the leave failed (errors.As finds each), or why it stopped: *StartError, *GroupError, *StuckError. A partition that halts does not stop it: see Config.OnHalt.
func (c *Consumer) Run(ctx context.Context, deliver func(*Batch)) error {
	ctx, err := c.begin(ctx)
	if err != nil {
		return err
	}
	err = c.run(ctx, deliver)
	c.phaseMu.Lock()
	c.phase, c.result = phaseEnded, err
	c.phaseMu.Unlock()
	close(c.finished)
	return err
}

func (c *Consumer) begin(ctx context.Context) (context.Context, error) {
	c.phaseMu.Lock()
	defer c.phaseMu.Unlock()
	switch {
	case c.phase != phaseNew:
		return nil, ErrAlreadyRun
	case c.closing.Load():
		return nil, ErrClosed
	}
	c.phase = phaseRunning
	ctx, c.cancel = context.WithCancelCause(ctx)
	c.runCtx.Store(&ctx)
	return ctx, nil
}

func (c *Consumer) run(ctx context.Context, deliver func(*Batch)) error {
	err := c.askKnown(ctx)
	var cl *kgo.Client
	if err == nil {
		cl, err = c.connect()
	}
	if err != nil {
		c.troubles.fatal(err)
		c.cancel(err)
		return err
	}
	loops, stopLoops := context.WithCancel(context.Background())
	c.wg.Go(func() { c.commitLoop(loops) })
	c.wg.Go(func() { c.careLoop(loops) })
	c.wg.Go(func() { c.waitLoop(loops) })
	c.wg.Go(func() { c.checkStart(ctx) })

	c.poll(ctx, cl, deliver)
	cause := context.Cause(ctx)
	abandoned := c.shutdown(cl)
	stopLoops()
	left := c.leave(cl)
	c.wg.Wait()
	if isOwnStop(cause) {
		return errors.Join(cause, abandoned)
	}
	return errors.Join(abandoned, left)
}

// connect makes the client. hookMu is held until it is known: the group's callbacks may begin before NewClient returns, and need it.
func (c *Consumer) connect() (*kgo.Client, error) {
	c.hookMu.Lock()
	cl, err := kgo.NewClient(c.clientOptions()...)
	if err != nil {
		c.closing.Store(true) // a callback that waits for hookMu has nothing to do any more
	} else {
		c.client.Store(cl)
	}
	c.hookMu.Unlock()
	return cl, err
}

// isOwnStop tells a reason of the consumer itself from the end of the caller's context and from Close.
func isOwnStop(cause error) bool {
	switch cause.(type) { //nolint:errorlint // our own causes are set unwrapped; the caller's may wrap anything
	case *StartError, *GroupError, *StuckError:
		return true
	}
	return errors.Is(cause, kgo.ErrClientClosed)
}

// stop ends Run for a reason of its own.
func (c *Consumer) stop(err error) {
	c.troubles.fatal(err)
	c.cancel(err)
}

// stopping tells that Run is about to end: from then on Start is false, and the end of a context is no outcome.
func (c *Consumer) stopping() bool {
	if c.closing.Load() {
		return true
	}
	ctx := c.runCtx.Load()
	return ctx != nil && (*ctx).Err() != nil
}

// shutdown is the revoke of everything.
func (c *Consumer) shutdown(cl *kgo.Client) error {
	c.closing.Store(true)
	cl.AllowRebalance()
	for _, p := range c.held() {
		p.stopped.Store(true) // at once for all, before waiting for a rebalance step that may run
	}
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	defer c.released.Store(true)
	return c.letGo(c.held(), ErrShutdown)
}

// leave leaves the group (a static member stays, for its successor) and closes the client.
func (c *Consumer) leave(cl *kgo.Client) (left error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := cl.LeaveGroupContext(ctx); err != nil {
		c.log.Warn("leaving the group failed: its partitions wait for the session timeout", "err", err, "session_timeout", c.cfg.SessionTimeout)
		// A join that waits for other members holds the leave up: then the group goes on by the session timeout, and nothing is wrong here.
		if c.membership.Load() != nil && !errors.Is(err, context.DeadlineExceeded) {
			left = &LeaveError{Group: c.cfg.Group, Err: err}
		}
	}
	cl.CloseAllowingRebalance()
	cl.AllowRebalance() // closing polls once more, and a goroutine that leaves the group again waits for that poll's end, for ever if nobody tells it
	return left
}

const leaveTimeout = 5 * time.Second

// Close ends Run and waits for it, and returns what Run did. Before Run it makes Run return ErrClosed. It may be called twice, from
// anywhere but deliver and the hooks.
func (c *Consumer) Close() error {
	c.phaseMu.Lock()
	c.closing.Store(true)
	phase := c.phase
	if phase == phaseRunning {
		c.cancel(errClosing)
	}
	c.phaseMu.Unlock()
	if phase == phaseNew {
		return nil
	}
	<-c.finished
	return c.result
}

// Client returns the Kafka client, for requests of your own: nil before Run. Do not poll, commit or close it.
func (c *Consumer) Client() *kgo.Client { return c.client.Load() }

// Halt is m.Done(err): the input's partition halts with it.
func (c *Consumer) Halt(m *Message, err error) { m.Done(err) }

func (c *Consumer) now() int64 { return int64(time.Since(c.base)) }

// held lists the partitions that this member holds now.
func (c *Consumer) held() []*partition {
	c.partsMu.RLock()
	defer c.partsMu.RUnlock()
	var all []*partition
	for _, ps := range c.parts {
		for _, p := range ps {
			all = append(all, p)
		}
	}
	return all
}

func (c *Consumer) lookup(topic string, partition int32) *partition {
	c.partsMu.RLock()
	defer c.partsMu.RUnlock()
	return c.parts[topic][partition]
}

func (c *Consumer) wakeFlow() { wake(c.flowKick) }

func (c *Consumer) countDone(n int) {
	limit := int64(c.cfg.CommitAfter)
	if now := c.doneSince.Add(int64(n)); now >= limit && now-int64(n) < limit {
		wake(c.commitKick)
	}
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// gate is a lock that may be held across waits for the network. A goroutine that waits for it counts as blocked in a synctest bubble,
// which one that waits for a sync.Mutex does not: virtual time would stand still.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) Lock()   { g <- struct{}{} }
func (g gate) Unlock() { <-g }
