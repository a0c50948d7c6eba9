package outlet

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const cacheLine = 64

// part is an output partition.
type part struct {
	topic *Topic
	id    int32

	mending atomic.Bool // mend is not nil: a look without the lock

	// Records that the usual client took, and gave back, without a stamp. Different goroutines
	// count them: each number has its own cache line.
	_       [cacheLine]byte
	entered atomic.Int64
	_       [cacheLine]byte
	left    atomic.Int64
	_       [cacheLine]byte

	mu     sync.Mutex
	mend   *mend[*Rec] // nil: all goes through the usual client
	marked bool        // a refusal began the repair
	halt   atomic.Bool // the second client met a refusal: what it was given of the group and has not sent yet comes back
	places []int       // of the guilty records in the batch of the second client that was refused last
	words  string      // of the broker, with places
	// written are records that a broker has seen, of those that come back next: the refused
	// batch's, and those of batches behind it.
	written int32
	since   time.Time // when the topic was first gone; zero: it is there
	pause   bool      // it is waited for
}

// entering is the usual client's hook. The client holds its lock on the partition.
type entering struct{}

var _ kgo.HookProduceRecordPartitioned = entering{}

// OnProduceRecordPartitioned counts the record, or stamps it if its partition is under repair.
func (entering) OnProduceRecordPartitioned(kr *kgo.Record, _ int32) {
	r := recOf(kr)
	p := r.To.part(kr.Partition)
	r.put(p.id)
	p.entered.Add(1)
	if r.first {
		r.To.loaded.Store(true)
		r.To.known.Store(true)
		defer r.To.hasPlace()
	}
	if !p.mending.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mend != nil {
		r.setStamp(p.mend.stamp())
		p.left.Add(1)
	}
}

// begin begins a repair, if there is none. mu is held.
func (p *part) begin() {
	if p.mend != nil {
		return
	}
	o := p.topic.outlet
	p.mend, p.marked, p.written, p.since = newMend[*Rec](), false, 0, time.Time{}
	p.mending.Store(true)
	o.repairs.Add(1)
	o.mu.Lock()
	o.broken[p] = struct{}{}
	o.mu.Unlock()
}

// awaitBack begins a repair of each partition of which the usual client has, or fails, records:
// what enters it from now on waits behind them.
func (t *Topic) awaitBack() {
	for _, p := range *t.parts.Load() {
		if p == nil {
			continue
		}
		p.mu.Lock()
		if p.entered.Load() != p.left.Load() {
			p.begin()
			p.hold() // the last of them may just be acknowledged, by somebody who saw no repair
		}
		p.mu.Unlock()
	}
}

// finish ends a repair. mu is held.
func (p *part) finish() {
	o := p.topic.outlet
	p.mend = nil
	p.mending.Store(false)
	o.repairs.Add(-1)
	o.mu.Lock()
	delete(o.broken, p)
	o.mu.Unlock()
}

// mark begins a repair because Kafka refused a batch: before the client acts on it, so that
// whatever enters afterwards is stamped.
func (p *part) mark(r refusal) []fate[*Rec] {
	o := p.topic.outlet
	if isTooLarge(r.err) {
		o.refresh(p.topic)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mend == nil {
		o.cfg.Log.Info("Kafka refused a batch: its records are sent again, to find which of them is to blame",
			"topic", p.topic.name, "partition", p.id, "err", r.err, "said", r.message)
	}
	p.begin()
	if !p.marked {
		p.marked, p.written = true, r.written
		p.mend.blame(r.places)
	}
	return p.step()
}

// said notes which records of the second client's batch the broker named. What the group has left
// must not be sent past those that failed, and the second client may be getting it at this very
// moment.
func (p *part) said(r refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mend == nil || p.mend.open == 0 {
		return // what was refused has ended otherwise: by Close, or with its topic
	}
	if p.halt.Swap(true) {
		return // batches behind the first that was refused were never the first in line
	}
	p.places, p.words, p.written = r.places, r.message, r.written
}

// back takes a record from the usual client: one that failed, or any during a repair.
func (p *part) back(r *Rec, stamp uint64, err error) (ends []fate[*Rec]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stamp == 0 {
		p.left.Add(1) // under the lock: else a step between this and the rest would take it for back, and begin without it
	}
	if isNew(err) {
		p.topic.known.Store(true)
	}
	retry := err != nil && (isVerdict(err) || handedBack(err) || gone(err) && p.topic.known.Load())
	if retry && p.topic.outlet.closed.Load() {
		retry, err = false, kgo.ErrClientClosed // what was said of its batch is no fate of its own
	}
	switch {
	case retry:
		if isNew(err) {
			p.topic.outlet.forget(p.topic, false)
			p.hold()
		}
		p.begin()                        // at the latest now
		if stamp == 0 && p.written > 0 { // those of the refused batch come first
			p.written--
			r.again = true
		}
		p.mend.cameBack(stamp, r)
	case p.mend != nil && stamp != 0:
		p.mend.pass(stamp)
		fallthrough
	default:
		ends = append(ends, fate[*Rec]{r, err})
	}
	return append(ends, p.step()...)
}

// endedAgain takes a record from the second client.
func (p *part) endedAgain(r *Rec, err error) (ends []fate[*Rec]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.mend.settle(r, err)
	if err == nil {
		p.topic.known.Store(true)
		p.since = time.Time{}
		ends = append(ends, fate[*Rec]{r, nil})
	}
	if !last {
		return ends
	}
	p.halt.Store(false)
	p.awaitTopic()
	for i, f := range p.mend.failed {
		f.rec.again = f.rec.again || i < int(p.written)
	}
	p.written = 0
	for _, f := range p.mend.judge(p.blame, p.places) {
		f.err = withMessage(f.err, p.words)
		ends = append(ends, f)
	}
	p.places, p.words = nil, ""
	return append(ends, p.step()...)
}

// blame says whom an error is about. mu is held.
func (p *part) blame(err error) verdictOn {
	switch {
	case isVerdict(err):
		return batch
	case handedBack(err), gone(err) && p.topic.known.Load():
		return nothing
	}
	return itself
}

// awaitTopic lets the repair pause if the topic of some records of the group is gone, for a while:
// it may be created anew. mu is held.
func (p *part) awaitTopic() {
	o, failed := p.topic.outlet, p.mend.failed
	i := slices.IndexFunc(failed, func(f fate[*Rec]) bool { return gone(f.err) })
	if i < 0 || !p.topic.known.Load() || o.closed.Load() {
		return
	}
	if p.since.IsZero() {
		p.since = time.Now()
		o.cfg.Log.Warn("an output topic is gone: its records wait for it to be created anew", "topic", p.topic.name, "partition", p.id, "for", goneFor)
	}
	if time.Since(p.since) > goneFor {
		p.topic.known.Store(false) // from now on it is one that does not exist, until a record of it is acknowledged
		return
	}
	if isNew(failed[i].err) {
		o.forget(p.topic, true)
	}
	p.hold()
}

// hold lets the repair pause for a moment. mu is held.
func (p *part) hold() {
	if p.pause {
		return
	}
	p.pause = true
	time.AfterFunc(goneRetry, func() {
		p.mu.Lock()
		p.pause = false
		p.mu.Unlock()
		p.topic.outlet.end(p.kick())
	})
}

// kick is step for who does not hold mu.
func (p *part) kick() []fate[*Rec] {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.step()
}

// step does what can be done next: it sends a group, or ends the repair. It returns the fates that
// are decided. mu is held.
func (p *part) step() (ends []fate[*Rec]) {
	m := p.mend
	if m == nil || m.open > 0 || p.pause || !m.begun && p.entered.Load() != p.left.Load() {
		return nil
	}
	o := p.topic.outlet
	m.gather()
	if o.closed.Load() {
		ends = append(ends, closing(m.drain())...)
	}
	for {
		group := m.next(p.topic.batchBytes(), (*Rec).weight)
		if group == nil {
			break
		}
		p.places, p.words = nil, ""
		refused := 0
		for i, r := range group {
			if err := o.resend(r); err != nil {
				ends = append(ends, fate[*Rec]{r, err})
				group[i] = nil
				refused++
			}
		}
		m.open -= refused
		if m.open == 0 {
			continue // its owner wants none of them
		}
		for _, r := range group {
			if r != nil {
				o.send(r)
			}
		}
		return ends
	}
	if m.over() {
		p.finish()
	}
	return ends
}

func (o *Outlet) resend(r *Rec) error {
	if o.cfg.Resend == nil {
		return nil
	}
	return o.cfg.Resend(r)
}

// giveUp fails what is not on its way, after both clients have ended.
func (p *part) giveUp() []fate[*Rec] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mend == nil {
		return nil
	}
	p.pause = false
	ends := closing(p.mend.drain())
	return append(ends, p.step()...)
}

func closing(list []*Rec) []fate[*Rec] {
	ends := make([]fate[*Rec], len(list))
	for i, r := range list {
		ends[i] = fate[*Rec]{r, kgo.ErrClientClosed}
	}
	return ends
}

func (p *part) held() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mend == nil {
		return 0
	}
	return int64(p.mend.held())
}
