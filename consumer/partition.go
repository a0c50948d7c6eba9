package consumer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/sessionfile"
)

// recordOverhead is what a record costs beside its bytes: the client's record, the message, the
// tracker's entry.
const recordOverhead = 256

// partition is a partition for one assignment. A new assignment is a new value with
// a fresh tracker (S4), so nothing that still holds a message of an old one can touch the new one.
type partition struct {
	around     *surroundings
	assignment *Assignment

	ctx     atomic.Pointer[context.Context]
	cancel  atomic.Pointer[context.CancelCauseFunc]
	stopped atomic.Bool // Start says false: draining, fenced or halted

	mu     sync.Mutex
	core   *assignment.Assignment
	entry  *sessionfile.Entry // in the session file; nil: none
	drain  drain
	halted *HaltError

	hand        inHand
	parked      parked
	paused      bool
	heldAgainst int64 // until when waits in vain are held against it, one after the other; as the consumer's monotonic nanoseconds

	ends  logEnds
	lost  int64 // inputs skipped by Config.OnOutOfRange
	stuck stuckState
	quiet quiet
	seen  fetched
}

// logEnds are where the log ends, by the last fetch.
type logEnds struct {
	high   int64 // -1: not known
	stable int64 // of what may be read
}

// surroundings is what the partitions of a consumer have in common, and whom they tell what. The
// functions must not block; all but halted and stopping are called under a partition's lock.
type surroundings struct {
	log        *slog.Logger
	maxRecords int // between the mark and the newest input
	limit      int // that are followed
	noDoneSets *atomic.Bool
	watch      *sentinel.Watch
	metrics    *metrics
	past       atomic.Int64 // done, of assignments that are over

	enter    func(*Assignment) *sessionfile.Entry
	counts   bool        // done is called
	done     func(n int) // inputs
	ready    func()      // parked records may be handed out
	freed    func(paused bool)
	halted   func(*HaltError)
	stopping func() bool // the end of a context is no outcome
}

// maxPoll is the most that a poll returns.
func (cfg *Config) maxPoll() int { return min(max(cfg.MaxRecords/8, 1), 8192) }

func newSurroundings(cfg *Config, log *slog.Logger, noDoneSets *atomic.Bool) *surroundings {
	return &surroundings{
		log: log, maxRecords: cfg.MaxRecords, limit: cfg.MaxRecords + cfg.maxPoll(), noDoneSets: noDoneSets,
		watch: sentinel.NewWatch(log), metrics: newMetrics(cfg), counts: cfg.CommitAfter > 0,
		enter: func(*Assignment) *sessionfile.Entry { return nil },
		done:  func(int) {}, ready: func() {}, freed: func(bool) {}, halted: func(*HaltError) {}, stopping: func() bool { return false },
	}
}

// drain is the end of an assignment in good order, or a sudden one.
type drain struct {
	why     error // from the moment that it begins
	waiting int   // started inputs that it waits for
	done    chan struct{}
}

func newPartition(around *surroundings, a *Assignment, committed int64) *partition {
	spec := assignment.Spec{TopicID: a.TopicID, Start: a.Start, Committed: committed, Limit: around.limit}
	entry := around.enter(a)
	if entry != nil {
		spec.Journal = entry
	}
	p := &partition{
		around: around, assignment: a, ends: logEnds{high: -1}, drain: drain{done: make(chan struct{}, 1)}, core: assignment.New(spec), entry: entry,
	}
	a.part = p
	p.renewContext()
	return p
}

func (p *partition) renewContext() {
	ctx, cancel := context.WithCancelCause(context.Background())
	p.ctx.Store(&ctx)
	p.cancel.Store(&cancel)
}

func (p *partition) end(cause error) { (*p.cancel.Load())(cause) }

// finish is Done(nil), under mu. After the assignment ended it changes nothing: a mark that moved
// then could be committed over another member's (the known loss bug of marks made after a revoke).
func (p *partition) finish(m *Message) {
	state := m.state()
	if atomic.LoadUint32(state)&(done|failed) != 0 || !p.core.Done(m.index()) {
		return
	}
	p.settle(state, done)
	r := m.run
	r.tell(nil)
	if r.left--; r.left == 0 {
		p.release(r)
	}
	p.afterDone(m.index(), 1)
}

// finishRun is finish for n inputs of a run, from an index on.
func (p *partition) finishRun(r *run, index uint64, n int) {
	if p.core.State().Over() {
		return
	}
	for n > 0 {
		fresh := p.settleFresh(r.states[index-r.first:][:n])
		if fresh == 0 { // this one has its outcome already
			index, n = index+1, n-1
			continue
		}
		p.core.DoneRange(index, fresh)
		r.tell(nil)
		if r.left -= fresh; r.left == 0 {
			p.release(r)
		}
		p.afterDone(index, fresh)
		index, n = index+uint64(fresh), n-fresh
	}
}

// settleFresh settles inputs up to the first that has its outcome, and returns how many.
func (p *partition) settleFresh(states []uint32) int {
	for i := range states {
		if atomic.CompareAndSwapUint32(&states[i], started, started|done) {
			continue // nearly always
		}
		if atomic.LoadUint32(&states[i])&(done|failed) != 0 {
			return i
		}
		p.settle(&states[i], done)
	}
	return len(states)
}

func (p *partition) afterDone(index uint64, n int) {
	if p.stuck.cancelled {
		p.recover(index, n)
	}
	if p.around.counts {
		p.around.done(n)
	}
	if len(p.parked.recs) > 0 && p.ready() {
		p.around.ready()
	}
}

// settle sets the outcome and tells a waiting drain, under mu.
func (p *partition) settle(state *uint32, outcome uint32) {
	before := atomic.OrUint32(state, outcome)
	if before&awaited != 0 && before&(done|failed) == 0 {
		p.arrived()
	}
}

// release gives a run's share of the budget back, under mu.
func (p *partition) release(r *run) {
	p.hand.remove(r)
	p.around.freed(p.paused)
}

// fail is Done(err): the input is not done, its partition halts there.
func (p *partition) fail(m *Message, err error) {
	// Not under mu: what the methods of a handler's error do is its own, and may be to call State.
	ofContext := isContextErr(err)
	leaves := errors.Is(err, ErrRevoked) || errors.Is(err, ErrLost) || errors.Is(err, ErrShutdown)
	p.mu.Lock()
	if p.core.State().Over() || atomic.LoadUint32(m.state())&(done|failed) != 0 {
		p.mu.Unlock()
		return
	}
	noOutcome := leaves || ofContext && (p.drain.why != nil || p.around.stopping())
	p.settle(m.state(), failed)
	p.mu.Unlock()
	m.run.tell(err)
	if noOutcome {
		return
	}
	p.halt(&HaltError{
		Offset: m.offset(), LostFrom: -1, LostTo: -1, Err: err,
		Remedy: "the input is not done and was not skipped: correct the cause, then call Consumer.Resume or restart the consumer",
	})
}

func isContextErr(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// halt stops the partition for the rest of its assignment. The first reason stays.
func (p *partition) halt(e *HaltError) {
	e.Topic, e.Partition = p.assignment.Topic, p.assignment.Partition
	p.mu.Lock()
	if p.core.State().Over() || p.halted != nil {
		p.mu.Unlock()
		return
	}
	p.core.Happen(assignment.Halt)
	p.halted = e
	p.dropParked()
	p.stopped.Store(true)
	p.mu.Unlock()
	p.around.halted(e)
}

// errMoved is what add can refuse.
var errMoved = errors.New("the fetch position went back below what was read already")

// add enters fetched records and makes the batch to hand out: nil when there is nothing in them to
// hand out now.
func (p *partition) add(fp *kgo.FetchPartition, now int64) (*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard(now)
	if fp.HighWatermark > 0 {
		p.ends.high, p.ends.stable = fp.HighWatermark, fp.HighWatermark
		if fp.LastStableOffset >= 0 {
			p.ends.stable = min(p.ends.stable, fp.LastStableOffset)
		}
	}
	if !p.core.State().Reads() || len(fp.Records) == 0 {
		return nil, nil
	}
	recs := fp.Records
	for !p.core.Begun() && len(p.parked.recs) == 0 && len(recs) > 0 && recs[0].Offset < p.assignment.Start {
		recs = recs[1:] // a position from before this assignment: all of it is done
	}
	if len(recs) == 0 {
		return nil, nil
	}
	if recs[0].Offset < p.readTo() {
		return nil, errMoved
	}
	p.seen.records += int64(len(recs))
	if len(p.parked.recs) == 0 {
		return p.handOut(recs, now), nil
	}
	p.park(recs)
	return p.unpark(now), nil
}

// handOut makes a run of records, as many as a done-set could still describe and the tracker holds,
// and parks the rest. nil: nothing of it is for a handler. Under mu.
func (p *partition) handOut(recs []*kgo.Record, now int64) *run {
	r := &run{part: p, at: now}
	r.Assignment = p.assignment
	limit := p.core.Describable()
	r.Messages = make([]Message, 0, countBelow(recs, limit))
	inherits, last := p.core.Inherits(), p.core.LeaderEpoch()
	for i, rec := range recs {
		inherited := inherits && p.core.WasDone(rec.Offset)
		input := !inherited && !rec.Attrs.IsControl()
		if input && rec.Offset >= limit && !p.core.Fits(rec.Offset, 0) {
			p.park(recs[i:])
			break
		}
		if rec.LeaderEpoch != last {
			last = rec.LeaderEpoch
			p.core.EnterEpoch(rec.Offset, last)
		}
		if !input {
			if !inherited {
				p.seen.control++
			}
			p.core.Pass(rec.Offset, inherited)
			continue
		}
		size := recordSize(rec)
		index, ok := p.core.Read(rec.Offset, size)
		if !ok { // hardly ever: balanceFlow pauses the partition before
			p.park(recs[i:])
			break
		}
		if len(r.Messages) == 0 {
			r.first = index
		}
		r.append(rec)
		r.bytes += size
	}
	if len(r.Messages) == 0 {
		return nil
	}
	r.left, r.states = len(r.Messages), make([]uint32, len(r.Messages))
	p.hand.add(r)
	return r
}

func recordSize(r *kgo.Record) int64 {
	size := recordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		size += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(size)
}

// next is the offset to read next.
func (p *partition) next() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readTo()
}

// disown keeps an ack mark from being committed in a log that is not the one it was counted in.
func (p *partition) disown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.core.Happen(assignment.Recreate)
	p.entry.Release()
}

// skipped counts inputs that were lost by choice (Config.OnOutOfRange).
func (p *partition) skipped(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost += n
}

func (p *partition) isHalted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.halted != nil
}
