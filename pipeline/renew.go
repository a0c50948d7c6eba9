package pipeline

import (
	"slices"
	"sync"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

const (
	// renewGather is for how long assignments come together that begin anew: each time may cost the
	// group a rebalance, and what one of them meets its neighbours meet, too.
	renewGather = 50 * time.Millisecond
	// renewEvery is how long it is until the next ones begin anew. What was short may be short
	// again.
	renewEvery = 2 * time.Second
)

// renewals are assignments under which an input cannot be done: there was no room to follow it, so
// far is it above the ack mark. Nothing is wrong with it, and a halt would strand its partition
// after the shortage (S10). They begin anew, from what is done.
type renewals struct {
	mu     sync.Mutex
	list   []*consumer.Assignment // that wait for it
	active bool
}

// renew has the assignment of a unit begin anew. Its input is neither done nor failed.
func (p *Pipeline) renew(f failure) {
	p.undone(f.m, consumer.ErrRevoked)
	r := &p.renewals
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.list, f.assignment) {
		return
	}
	r.list = append(r.list, f.assignment)
	if r.active {
		return
	}
	r.active = true
	p.log.Warn("partitions begin anew from what is done: the sidecar has no room for inputs so far above their ack marks",
		"code", producer.CodeNoRoom, "topic", f.m.Topic, "partition", f.m.Partition, "offset", f.m.Offset, "err", f.err)
	p.side.Go(p.renewAll)
}

func (p *Pipeline) renewAll() {
	running := p.life.Context()
	for wait := renewGather; sleep(running, wait); wait = renewEvery {
		list := p.renewals.take()
		if len(list) == 0 {
			return
		}
		p.side.Go(func() { _ = p.source.Renew(list) }) // it waits for handlers; an error says that all of it ends
	}
}

// take takes those that wait. None: the next one has to begin again.
func (r *renewals) take() []*consumer.Assignment {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list, r.active = nil, len(list) > 0
	return list
}
