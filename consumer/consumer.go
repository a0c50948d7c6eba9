package consumer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/lifecycle"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/internal/tracing"
)

// Hooks are called at the points of a rebalance, one at a time, from the group's goroutine (at
// shutdown: from Run's). They must not call Close, and should return well within the
// RebalanceTimeout.
type Hooks struct {
	// Joining is called once, when the member has an id and waits in its first join, unless that is
	// over already: it holds nothing, and has no generation (-1).
	Joining func(m Membership)
	// Assigned is called after every completed rebalance, before the first input of the added
	// partitions is handed out. added may be empty.
	Assigned func(ctx context.Context, m Membership, added []*Assignment)
	// Revoking is called when partitions leave, after what ran was drained (or the drain deadline
	// passed) and before the last commit. ctx ends at the revoke deadline.
	Revoking func(ctx context.Context, leaving []*Assignment)
	// Lost is called when partitions were lost: another member may hold them already, nothing is
	// committed.
	Lost func(lost []*Assignment)
	// Crossed is called now and then, only with CommitElsewhere, for an assignment of which every
	// input that was handed out is done: everything below offset is. Behind its last input there
	// may be control records and gaps, which who commits does not see. It must not block.
	Crossed func(a *Assignment, offset int64)
}

// Consumer reads one group. It runs once; New makes another.
type Consumer struct {
	// It is made of parts, each with fields of its own: the reader polls and hands out within the
	// memory budget, the committer commits, the group is this member's place in it, the survey asks
	// where partitions begin, the guard sees to it that all are read, and held is what this
	// member holds. The session file is what a successor needs if this process is killed, the heir
	// is the successor. A part does not know the Consumer: what it finds out it returns, or tells
	// by a function that it was given.
	//
	// Goroutines, all of which Run waits for: Run's own polls; the committer's commits by time;
	// maintain resumes partitions, and watches for stuck inputs and unread partitions; the group's
	// begins partitions that could not be read at first; another of it heartbeats; one checks the
	// start. The group's callbacks come from the client's goroutine.
	//
	// Locks, in the order they may be taken: hookMu (one rebalance step or shutdown at a time),
	// commitMu (one commit in flight), flowMu, partsMu, partition.mu. The client's own locks are
	// never held when ours are taken, except the one that keeps polls out of callbacks.

	cfg      *Config
	log      *slog.Logger
	clock    clock
	life     lifecycle.Life
	troubles troubles
	brokers  *brokers
	parts    *held
	around   *surroundings // of the partitions
	survey   *survey
	commits  *committer
	file     *sessionFile
	heir     *heir
	group    *group
	reader   *reader
	guard    *guard
	onHalted func(*HaltError) // of the iterators
	events   podstate.Events
}

var errClosing = errors.New("consumer: Close was called")

// lastEpoch numbers the assignment epochs of this process.
var lastEpoch atomic.Uint64

// New checks the configuration; it does not connect. The errors are *ConfigError, joined where
// several fields or options are wrong.
func New(cfg Config) (*Consumer, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.validate(), cfg.adopt()); err != nil {
		return nil, err
	}
	return assemble(&cfg), nil
}

// assemble makes the parts and tells them of each other.
func assemble(cfg *Config) *Consumer {
	cfg.tracer = tracing.New(cfg.TracerProvider)
	log := cfg.Logger.With("group", cfg.Group)
	c := &Consumer{cfg: cfg, log: log, clock: clock{time.Now()}, parts: newHeld()}
	cfg.Hooks = c.watched(cfg.Hooks)
	c.brokers = &brokers{cfg: cfg, log: log, troubles: &c.troubles, session: newSession(cfg.SessionTimeout)}
	c.survey = &survey{cfg: cfg, log: log, brokers: c.brokers}
	c.commits = newCommitter(cfg, log, c.brokers, c.parts)
	c.around = newSurroundings(cfg, log, &c.commits.noDoneSets)
	c.group = newGroup(cfg, log, c.brokers, c.parts, c.survey, c.commits)
	c.file = &sessionFile{cfg: cfg, log: log, brokers: c.brokers, number: c.group.identity.number}
	c.heir = &heir{cfg: cfg, log: log, brokers: c.brokers, metrics: c.around.metrics}
	c.reader = newReader(cfg, log, c.clock, c.brokers, c.parts, c.survey)
	c.guard = &guard{log: log, clock: c.clock, life: &c.life, brokers: c.brokers, parts: c.parts, survey: c.survey}

	c.around.halted, c.around.stopping = c.onHalt, c.life.Stopping
	c.around.done = c.commits.countDone
	c.commits.metrics = c.around.metrics
	c.around.ready, c.around.freed = c.reader.wakePoll, c.reader.memoryFreed
	c.commits.life, c.commits.troubles = &c.life, &c.troubles
	c.commits.member, c.commits.forbidden = c.group.current.Load, c.stop
	c.group.life, c.group.troubles, c.group.around = &c.life, &c.troubles, c.around
	c.group.file = c.file
	c.around.enter = func(a *Assignment) *sessionfile.Entry { return c.file.enter(c.group.current.Load(), a) }
	c.reader.troubles, c.reader.stop = &c.troubles, c.stop
	c.reader.explain, c.reader.restart = c.group.waiting.explain, c.group.restart
	return c
}

// Run joins the group and hands batches to deliver, from the poll goroutine, until ctx ends or the
// consumer stops by itself; then it drains, commits, leaves the group and returns. deliver must not
// block for long: memory is bounded by the budget, not by it, and rebalances wait for it (a slow
// one is logged).
//
// It returns nil after a clean stop, an *AbandonedError when the drain deadline passed, an
// *UncommittedError or *LeaveError when the last commit or the leave failed (errors.As finds each),
// or why it stopped: *StartError, *GroupError, *StuckError. A partition that halts does not stop
// it: see Config.OnHalt.
func (c *Consumer) Run(ctx context.Context, deliver func(*Batch)) error {
	return c.runOnce(ctx, deliver, func(*HaltError) {})
}

// runOnce is Run, which also tells of partitions that halt.
func (c *Consumer) runOnce(ctx context.Context, deliver func(*Batch), halted func(*HaltError)) error {
	ctx, err := c.life.Begin(ctx)
	switch {
	case errors.Is(err, lifecycle.ErrBegun):
		return ErrAlreadyRun
	case err != nil:
		return ErrClosed
	}
	c.onHalted = halted
	told := c.around.metrics.begin(c)
	err = c.run(ctx, deliver)
	told() // before the end: a process may exit when Close has returned
	storm.End(c.cfg.Logger)
	c.life.End(err)
	return err
}

func (c *Consumer) run(ctx context.Context, deliver func(*Batch)) error {
	cl, err := c.begin(ctx)
	if err != nil {
		c.file.end(true)
		c.stop(err)
		return err
	}
	loops, stopLoops := context.WithCancel(context.Background())
	c.life.Go(func() { c.commits.commitLoop(loops, c.group.ousted) })
	c.life.Go(func() { c.maintain(loops) })
	c.life.Go(func() { c.group.waitLoop(loops) })
	c.life.Go(func() { c.group.beatLoop(loops) })
	c.life.Go(func() { c.group.watchSession(loops) })
	c.life.Go(func() { c.brokers.followSession(loops) })
	c.life.Go(func() { c.checkStart(ctx) })

	if err := c.reader.poll(ctx, cl, deliver); err != nil {
		c.stop(err)
	}
	cause := context.Cause(ctx)
	abandoned := c.shutdown(cl)
	stopLoops()
	left := c.group.leave(cl)
	c.life.Wait()
	c.file.end(nothingLeft(abandoned, c.cfg.InstanceID != "", c.group.left))
	if isOwnStop(cause) {
		return errors.Join(cause, abandoned)
	}
	return errors.Join(abandoned, left)
}

// begin does what comes before the group is joined, and has it joined.
func (c *Consumer) begin(ctx context.Context) (*kgo.Client, error) {
	c.heir.inherit(ctx)
	if err := c.brokers.chooseProtocol(ctx); err != nil {
		return nil, err
	}
	if err := c.survey.askKnown(ctx); err != nil {
		return nil, err
	}
	if err := c.file.begin(); err != nil {
		return nil, err
	}
	return c.connect()
}

// connect makes the client. hookMu is held until it is known: the group's callbacks may begin
// before NewClient returns, and need it.
func (c *Consumer) connect() (*kgo.Client, error) {
	c.group.hookMu.Lock()
	defer c.group.hookMu.Unlock()
	opts := slices.Concat(c.brokers.clientOptions(), c.reader.clientOptions(), c.group.clientOptions())
	cl, err := kgo.NewClient(append(opts, kgo.WithHooks(watchProtocol{c.brokers, c.stop}))...)
	if err != nil {
		c.life.Leave() // a callback that waits for hookMu has nothing to do any more
	} else {
		c.brokers.client.Store(cl)
	}
	return cl, err
}

// isOwnStop tells a reason of the consumer itself from the end of the caller's context and from
// Close.
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
	c.life.Stop(err)
}

// shutdown is the revoke of everything.
func (c *Consumer) shutdown(cl *kgo.Client) error {
	c.life.Leave()
	cl.AllowRebalance()
	for _, p := range c.parts.all() {
		p.stopped.Store(true) // at once for all, before waiting for a rebalance step that may run
	}
	return c.group.shutdown()
}

// Close ends Run and waits for it, and returns what Run did. Before Run it makes Run return
// ErrClosed. It may be called twice, from anywhere but the hooks and the function
// that Run was given.
func (c *Consumer) Close() error {
	_, result := c.life.Close(errClosing)
	return result
}

// Client returns the Kafka client, for requests of your own: nil before Run. Do not poll, commit or
// close it.
func (c *Consumer) Client() *kgo.Client { return c.brokers.client.Load() }

// Reads tells whether the topic is one of those that the consumer was told to read: by Topics or
// Regex, or by ConsumeTopics, ConsumeRegex and ConsumeExcludeTopics in Options. It asks no broker.
// Who writes outputs learns by it, as the pipeline does, that one would come back as an input.
func (c *Consumer) Reads(topic string) bool { return c.cfg.reads(topic) }

// Subscription is what the consumer was told to read, Options included: topics by name, or a
// regular expression.
func (c *Consumer) Subscription() (topics []string, regex string) {
	return slices.Clone(c.cfg.Topics), c.cfg.Regex
}

// Group is the consumer group, which Options may have named.
func (c *Consumer) Group() string { return c.cfg.Group }

// maintain resumes partitions that gave memory back, and looks after what is not read and what is
// not done.
func (c *Consumer) maintain(ctx context.Context) {
	every := maintainEvery
	if t := c.cfg.HandlerTimeout; t > 0 {
		every = max(min(every, t/8), time.Millisecond)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.parts.flowKick:
			c.reader.balanceFlow()
		case <-c.group.fenceKick:
			c.group.rejoin()
		case <-tick.C:
			c.guard.wake(ctx, c.clock.now())
			for _, p := range c.parts.all() {
				if err := p.watch(c.clock.now(), c.cfg.HandlerTimeout); err != nil {
					c.stop(err)
				}
			}
		}
	}
}

// Fence ends every assignment at once, as if the membership were lost: nothing of them is committed
// any more, Hooks.Lost is called, and the group is joined again. Fence does not wait; when it
// returns nothing done from then on counts, and no commit that is not on its way already goes out.
// why is logged.
//
// It is exported for the pipeline, and for whoever learns without one that this process was taken
// for dead: from a producer.Fencer, whose sidecar has executed the will.
func (c *Consumer) Fence(why error) {
	if why == nil {
		why = ErrLost
	}
	c.group.fence(why)
}

// onHalt tells about a halted partition, once.
func (c *Consumer) onHalt(e *HaltError) {
	c.log.Error("partition halted", "topic", e.Topic, "partition", e.Partition, "offset", e.Offset, "err", e.Err,
		"lost_from", e.LostFrom, "lost_to", e.LostTo, "remedy", e.Remedy)
	c.events.Add(podstate.Halt, e.Topic, e.Partition, e.Error())
	c.parts.balance()
	if c.cfg.OnHalt != nil {
		c.cfg.OnHalt(e)
	}
	c.onHalted(e)
}

// clock counts monotonic nanoseconds.
type clock struct{ base time.Time }

func (c clock) now() int64 { return int64(time.Since(c.base)) }

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// chanMutex is a lock that may be held across waits for the network. A goroutine that waits for it
// counts as blocked in a synctest bubble, which one that waits for a sync.Mutex does not: virtual
// time would stand still.
type chanMutex chan struct{}

func newChanMutex() chanMutex { return make(chanMutex, 1) }

func (m chanMutex) Lock()   { m <- struct{}{} }
func (m chanMutex) Unlock() { <-m }

// TryLock does not wait.
func (m chanMutex) TryLock() bool {
	select {
	case m <- struct{}{}:
		return true
	default:
		return false
	}
}
