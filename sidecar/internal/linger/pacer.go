package linger

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Pacer ends the linger of a Kafka client whose own linger is the longest wait. A nil Pacer does
// nothing. It is a hook of that client.
//
// The first record opens a window. Each shortest wait the pacer looks: the window ends when it has
// lasted as long as the rule says, or when nothing came since the last look. So nobody who waits
// for an acknowledgement before he sends more is kept waiting for others that do not come.
type Pacer struct {
	least time.Duration
	flush func() // has the client send what lingers; it does not block

	came    atomic.Int64 // messages
	state   atomic.Int32
	records atomic.Int64 // written
	batches atomic.Int64

	mu    sync.Mutex // the rest
	rule  Rule
	timer *time.Timer
	begun time.Time // this window
	seen  int64     // what had come at the last look
	last  [2]int64  // records and batches written when the window before ended
}

// The states of a pacer: idle → waiting when a record comes, waiting → idle when a window ends, and
// from each to closed.
const (
	idle    int32 = iota // the next record opens a window
	waiting              // the timer runs
	closed               // no timer is started any more
)

// New makes a pacer, or none where there is nothing to choose.
func New(least, most time.Duration, flush func()) *Pacer {
	if least <= 0 || most <= least {
		return nil
	}
	return &Pacer{least: least, flush: flush, rule: NewRule(least, most)}
}

var _ kgo.HookProduceBatchWritten = (*Pacer)(nil)

// OnProduceBatchWritten counts what a window gathered.
func (p *Pacer) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	if p != nil {
		p.records.Add(int64(m.NumRecords))
		p.batches.Add(1)
	}
}

// Came tells that records were handed to the client: behind them, so that they go with the window
// that they are told in, or open the next one.
func (p *Pacer) Came() {
	if p == nil {
		return
	}
	p.came.Add(1)
	if p.state.Load() == idle && p.state.CompareAndSwap(idle, waiting) {
		p.begin()
	}
}

func (p *Pacer) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Load() != waiting {
		return
	}
	p.begun, p.seen = time.Now(), p.came.Load()
	if p.timer == nil {
		p.timer = time.AfterFunc(p.least, p.look)
		return
	}
	p.timer.Reset(p.least)
}

// look ends the window, or lets it go on.
func (p *Pacer) look() {
	if p.over() {
		p.flush()
	}
}

func (p *Pacer) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.Load() != waiting {
		return false
	}
	came, left := p.came.Load(), p.rule.Wait()-time.Since(p.begun)
	if left > 0 && came != p.seen {
		p.seen = came
		p.timer.Reset(min(left, p.least))
		return false
	}
	written := [2]int64{p.records.Load(), p.batches.Load()}
	p.rule.Gathered(written[0]-p.last[0], written[1]-p.last[1])
	p.last = written
	p.state.CompareAndSwap(waiting, idle)
	return true
}

// Now sends what lingers. What the client is just about to take goes with the window that this
// opens.
func (p *Pacer) Now() {
	if p != nil {
		p.Came()
		p.flush()
	}
}

// Wait is how long records wait at most, as things are.
func (p *Pacer) Wait() time.Duration {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rule.Wait()
}

// Close stops the timer: the client is about to be closed.
func (p *Pacer) Close() {
	if p == nil {
		return
	}
	p.state.Store(closed)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
}
