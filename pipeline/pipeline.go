package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/lifecycle"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/producer"
)

// States that a call can find the pipeline in.
var (
	// ErrClosed: the pipeline was closed.
	ErrClosed = errors.New("pipeline: closed")
	// ErrAlreadyRun: a pipeline runs once.
	ErrAlreadyRun = errors.New("pipeline: Run was called before: a Pipeline runs once, make a new one with New")
	// ErrNotRunning: Run was not called yet.
	ErrNotRunning = errors.New("pipeline: not running: call Run")
)

// DeliveryError stops the pipeline: the producer takes nothing any more, or will not take what it
// is for. Handlers that run are not waited for: nobody would take what they make.
type DeliveryError struct{ Err error }

func (e *DeliveryError) Error() string {
	return fmt.Sprintf("pipeline: the producer takes no outputs: %v", e.Err)
}
func (e *DeliveryError) Unwrap() error { return e.Err }

// source is the part of consumer.Consumer that a pipeline uses.
type source interface {
	Run(ctx context.Context, deliver func(*consumer.Batch)) error
	Check(ctx context.Context) error
	Close() error
	Resume(topic string, partition int32) error
	Renew(list []*consumer.Assignment) error
	State() consumer.State
}

// Pipeline reads inputs, runs the handler and delivers the outputs. It runs once.
type Pipeline struct {
	// Goroutines, all of which Run waits for: Run's own is the consumer's; one per lane; pacer,
	// watchdog and failures; and short ones in side. Only a handler that ignores its context past
	// HandlerGrace is left behind, with its lane, and Run says so with a StuckError.
	//
	// Locks, in the order they may be taken: lane.delivering, lane.mu, and alone: sharedQueue.mu,
	// failures.mu, halts.mu, renewals.mu, mu. No lock is held while a handler runs; only delivering
	// is while the producer is called.

	cfg          Config
	log          *slog.Logger
	source       source
	handler      Handler
	batchHandler BatchHandler
	lanes        []*lane
	shared       *sharedQueue // of an unordered pipeline
	dispatcher   *dispatcher
	failures     *failures
	pacer        *pacer
	outputs      outputTopics
	halts        halts
	renewals     renewals
	traces       *traces // nil: nothing is traced
	troubles     troubles
	events       podstate.Events
	counts       counts
	metrics      *metrics // nil: no meter provider
	sentinels    sentinels
	warned       throttle
	side         sync.WaitGroup
	unfence      func() // the producer tells of fences until then; nil: it tells of none
	consumer     atomic.Uint64

	life     lifecycle.Life
	mu       sync.Mutex
	stopping error // why it stops by itself: the first reason
}

var errCloseCalled = errors.New("pipeline: Close was called")

// Run makes a pipeline and runs it until ctx ends. It owns cfg.Producer (unless KeepProducer) even
// when cfg is invalid. See [Pipeline.Run].
func Run(ctx context.Context, cfg Config) error {
	p, err := New(cfg)
	if err != nil {
		if cfg.Producer != nil && !cfg.KeepProducer {
			err = errors.Join(err, cfg.Producer.Close())
		}
		return err
	}
	return p.Run(ctx)
}

// New checks the configuration; it does not connect. The errors are *ConfigError, joined where
// several fields are wrong. From a successful New on the pipeline owns cfg.Producer (unless
// KeepProducer): call Run or Close.
func New(cfg Config) (*Pipeline, error) {
	cfg = cfg.withDefaults()
	invalid := cfg.validate()
	p := &Pipeline{cfg: cfg}
	p.outputs = outputTopics{loops: cfg.Loops, sink: cfg.Producer == nil}
	if p.outputs.sink {
		p.cfg.Producer = sink{}
	}
	c, err := consumer.New(p.consumerConfig())
	if err := errors.Join(invalid, configerr.Within(configName, "Consumer", err)); err != nil {
		return nil, err
	}
	if err := cfg.checkDeadLetter(c); err != nil {
		return nil, err
	}
	p.cfg.Consumer.Group = c.Group() // Options may have named it
	p.log = cfg.Logger.With("group", c.Group())
	p.outputs.reads, p.outputs.log = c.Reads, p.log
	p.outputs.named, p.outputs.regex = c.Subscription()
	p.traces = newTraces(&p.cfg)
	p.metrics = newMetrics(&p.cfg, c.Group())
	p.build(c)
	if f, ok := cfg.Producer.(producer.Fencer); ok {
		// Somebody has committed for this process, because it was taken for dead, and has left the
		// group for it: every partition is lost (S8). Units may fail a moment before this is
		// called: see actionGone.
		p.unfence = f.OnFenced(func(err *producer.Error) {
			if m, ofOne := errors.AsType[*producer.MemberFencedError](err); !ofOne || p.isMine(m) {
				c.Fence(err)
			}
		})
	}
	return p, nil
}

func (p *Pipeline) build(s source) {
	p.source = s
	p.handler = wrap(p.cfg.Handler, p.cfg.Middleware.AroundAttempt)
	p.batchHandler = wrap(p.cfg.BatchHandler, p.cfg.Middleware.AroundBatch)
	for range p.cfg.Concurrency {
		p.lanes = append(p.lanes, newLane(p))
	}
	if p.cfg.Order == Unordered {
		p.shared = newSharedQueue(len(p.lanes), p.cfg.BatchWait)
	}
	p.dispatcher = newDispatcher(p.cfg.Order, p.lanes, p.shared)
	if p.dispatcher.routing != nil && p.cfg.BatchHandler == nil {
		p.dispatcher.routing.share()
	}
	p.failures = newFailures(p)
	p.pacer = newPacer(p)
	p.sentinels.begin(p.log, p.cfg.Order)
	p.warned.base = time.Now()
}

// Run joins the group and works until ctx ends. Then it stops polling, lets the inputs that were
// started finish (at most Consumer.DrainTimeout), commits, leaves the group, closes the producer
// and returns: nil after a clean end; a *consumer.AbandonedError naming what was started and not
// done. It stops by itself, in the same way (for a *DeliveryError without the wait), for a
// *FatalError, a *StuckError, a *ResultCountError (in a FatalError), a *DeliveryError, and the
// consumer's own reasons (*consumer.StartError, *consumer.GroupError); that error is returned,
// joined with what was abandoned. A halted partition does not stop it, unless StopOnHalt is set:
// see State and Check. The *consumer.HaltErrors of partitions that stand still when it ends are
// joined, too.
func (p *Pipeline) Run(ctx context.Context) error {
	ctx, err := p.life.Begin(ctx)
	switch {
	case errors.Is(err, lifecycle.ErrBegun):
		return ErrAlreadyRun
	case err != nil:
		return ErrClosed
	}
	p.halts.begin(ctx)
	err = p.work(ctx)
	storm.End(p.cfg.Logger)
	p.life.End(err)
	return err
}

func (p *Pipeline) work(ctx context.Context) error {
	defer p.metrics.begin(p)()
	for _, l := range p.lanes {
		go l.run() // waited for by endLanes, which may leave one behind
	}
	var helpers, deciding sync.WaitGroup
	helping, dismiss := context.WithCancel(context.Background())
	helpers.Go(func() { p.pacer.run(helping) })
	if p.cfg.HandlerTimeout > 0 {
		w := newWatchdog(p)
		helpers.Go(func() { w.run(helping) })
	}
	helpers.Go(func() { p.sentinels.run(helping) })
	deciding.Go(p.failures.run)
	p.side.Go(func() { p.flushDuringDrain(ctx, helping) })
	p.beginCommits() // before anything is asked of the producer: that begins a session, in the mode that it has by then
	p.side.Go(func() { p.checkStart(ctx) })
	if r, ok := p.cfg.Producer.(producer.Refuser); ok {
		r.OnRefused(p.refused)
	}

	if t, ok := p.cfg.Producer.(producer.Teller); ok {
		defer t.Tell(p.report)()
	}
	p.inherit(ctx)
	err := p.source.Run(ctx, p.dispatcher.deliver)
	stuck := p.endLanes()
	dismiss()
	helpers.Wait()
	p.failures.close()
	deciding.Wait()
	closed := p.closeProducer()
	p.side.Wait() // last: what blocks in the producer ends with it
	p.traces.close()

	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.stopping, err, stuck, closed, p.halts.err(p.stopping))
}

// flushDuringDrain has the producer send at once, instead of waiting for its linger, what the
// drain of a shutdown waits for.
func (p *Pipeline) flushDuringDrain(ctx, helping context.Context) {
	select {
	case <-ctx.Done():
	case <-helping.Done():
		return
	}
	for {
		if !sleep(helping, paceEvery) {
			return
		}
		if err := p.cfg.Producer.Flush(helping); err != nil {
			return
		}
		if !sleep(helping, 20*paceEvery) {
			return
		}
	}
}

// endLanes waits for the lanes. The consumer has returned: every assignment has ended, so what is
// queued is dropped, and handlers have been told.
func (p *Pipeline) endLanes() error {
	for _, l := range p.lanes {
		l.close()
	}
	if p.shared != nil {
		p.shared.close()
	}
	grace := time.NewTimer(p.cfg.HandlerGrace)
	defer grace.Stop()
	var stuck error
	for _, l := range p.lanes {
		if l.isAbandoned() {
			continue
		}
		select {
		case <-l.ended:
			continue
		case <-grace.C:
			grace.Reset(0) // no grace for the others either: it was the same time
		}
		stuck = errors.Join(stuck, l.leave(p.cfg.HandlerGrace))
	}
	return stuck
}

func (l *lane) isAbandoned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.abandoned
}

// leave gives up on a lane whose handler ignores the end of its context.
func (l *lane) leave(running time.Duration) error {
	l.mu.Lock()
	if l.running == nil { // it puts its last input away, which no handler can delay
		l.mu.Unlock()
		<-l.ended
		return nil
	}
	m := l.leaveIt()
	l.mu.Unlock()
	return &StuckError{Input: inputOf(m), Running: running}
}

func (p *Pipeline) closeProducer() error {
	p.forgetFences()
	if p.cfg.KeepProducer {
		p.leaveProducer()
		return nil
	}
	return p.cfg.Producer.Close()
}

// leaveProducer tells a producer that lives on that this pipeline's membership is over: nobody has
// to commit for it any more.
func (p *Pipeline) leaveProducer() {
	s := p.source.State()
	if !s.Joined {
		return
	}
	m := s.Membership
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	over := producer.Membership{Group: m.Group, Consumer: m.Consumer}
	if err := p.cfg.Producer.Assign(ctx, over, nil); err != nil && !errors.Is(err, producer.ErrClosed) {
		p.log.Warn("the producer was not told that the group was left", "group", m.Group, "err", err)
	}
}

// Close ends Run and waits for it; it returns what Run returned. Before Run it makes Run return
// ErrClosed and closes the producer. It may be called twice, but not from a handler or hook.
func (p *Pipeline) Close() error {
	first, result := p.life.Close(errCloseCalled)
	if first {
		return errors.Join(p.source.Close(), p.closeProducer())
	}
	return result
}

// whyStopping is why it stops by itself, if it does.
func (p *Pipeline) whyStopping() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopping
}

// stopBy stops the pipeline for a reason of its own. The first one counts.
func (p *Pipeline) stopBy(err error) {
	p.mu.Lock()
	first := p.stopping == nil
	if first {
		p.stopping = err
	}
	p.mu.Unlock()
	cause := err
	if _, nothing := errors.AsType[*DeliveryError](err); nothing { // a drain would wait for outputs that nobody takes
		cause = fmt.Errorf("%w: %w", consumer.ErrNoDrain, err)
	}
	p.life.Stop(cause)
	if first { // not under mu: what a handler's error and a Logger do is their own, and may be to call State
		p.log.Error("the pipeline stops", "err", err)
	}
}

// refused is told that the producer will never deliver anything. It may be when the pipeline has
// ended, and left its producer to another one.
func (p *Pipeline) refused(err *producer.Error) {
	if p.life.Phase() == lifecycle.Running {
		p.stopBy(&DeliveryError{Err: err})
	}
}

// fatal stops the pipeline at an input, which stays undone.
func (p *Pipeline) fatal(m *consumer.Message, err error) {
	p.stopBy(&FatalError{Input: inputOf(m), Err: err})
	p.undone(m, consumer.ErrShutdown) // no outcome: it only tells the drain not to wait
}

// producerClosed is told that the producer is closed while the pipeline works.
func (p *Pipeline) producerClosed() {
	p.stopBy(&DeliveryError{Err: fmt.Errorf("%w: it was closed while the pipeline runs; the pipeline closes it itself", producer.ErrClosed)})
}
