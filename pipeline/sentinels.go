package pipeline

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/sentinel"
)

// sentinels hold what the pipeline does against what it promises.
type sentinels struct {
	watch    *sentinel.Watch
	order    keyOrder
	accounts sync.Map // of the assignments held, by *consumer.Assignment
}

// account is what the producer said of the inputs of one assignment.
type account struct {
	of       *consumer.Assignment
	reported atomic.Int64 // inputs of units that it acknowledged
	surplus  atomic.Int64 // the most inputs that were done without: said
}

func (s *sentinels) begin(log *slog.Logger, order Order) {
	s.watch = sentinel.NewWatch(log)
	s.order = keyOrder{order: order, seed: maphash.MakeSeed()}
}

func (s *sentinels) assigned(added []*consumer.Assignment) {
	for _, a := range added {
		s.accounts.Store(a, &account{of: a})
	}
}

// account is that of an assignment; of one that is over, one that nobody looks at.
func (s *sentinels) account(a *consumer.Assignment) *account {
	if known, ok := s.accounts.Load(a); ok {
		return known.(*account) //nolint:forcetypeassert // see assigned
	}
	return &account{of: a}
}

// over looks at assignments that leave, for the last time.
func (s *sentinels) over(list []*consumer.Assignment) {
	for _, a := range list {
		if known, ok := s.accounts.LoadAndDelete(a); ok {
			s.check(known.(*account)) //nolint:forcetypeassert // see assigned
		}
	}
}

// check is the rule of the ack mark, a step before the consumer's: no more inputs may be done than
// were reported. What is reported is counted first, so it cannot be less for a moment.
func (s *sentinels) check(c *account) {
	done := c.of.DoneInputs()
	surplus := done - c.reported.Load()
	if !sentinel.IsBeyond(surplus, c.surplus.Load()) {
		return
	}
	c.surplus.Store(surplus)
	s.watch.Found(sentinel.CommitBeyond, "topic", c.of.Topic, "partition", c.of.Partition, "epoch", c.of.Epoch, "done", done, "acknowledged", done-surplus)
}

const sentinelsEvery = time.Second

// run looks at all accounts now and then.
func (s *sentinels) run(ctx context.Context) {
	tick := time.NewTicker(sentinelsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.accounts.Range(func(_, known any) bool {
			s.check(known.(*account)) //nolint:forcetypeassert // see assigned
			return true
		})
	}
}

// keyOrder looks at the order in which inputs are delivered for the first time: of all keys, for
// watchedFlights of each flightsRound flights. A fault that inverts keys does so again and again.
type keyOrder struct {
	order   Order
	seed    maphash.Seed
	flights atomic.Uint64

	mu   sync.Mutex
	last []lastOfKey // nil before the first flight; a key that falls on the place of another one takes it
}

const (
	watchedFlights = 32
	flightsRound   = 1024
	watchedKeys    = 4096
)

// lastOfKey is the highest input of a key that was delivered.
type lastOfKey struct {
	key, epoch uint64
	before     uint64 // its index plus one
}

// delivers is told of a flight before its first delivery.
func (s *sentinels) delivers(f *flight) {
	o := &s.order
	if o.order == Unordered || o.flights.Add(1)%flightsRound >= watchedFlights && !sentinel.Everything() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last = make([]lastOfKey, watchedKeys)
	}
	epoch := f.assignment.Epoch
	for i := range f.units {
		m := f.msgs[i]
		key := uint64(0) // in the order of a partition all keys are one
		if o.order == PerKey {
			if m.Key == nil {
				continue
			}
			key = maphash.Bytes(o.seed, m.Key) // as it came: what its handler changed is put back
		}
		index := f.units[i].Source.Index
		l := &o.last[(key+epoch)%watchedKeys]
		if l.key != key || l.epoch != epoch {
			*l = lastOfKey{key, epoch, 0}
		}
		if sentinel.IsInverted(index, l.before) {
			s.watch.Found(sentinel.OrderInverted, "topic", f.assignment.Topic, "partition", f.assignment.Partition, "offset", f.units[i].Source.Offset, "epoch", epoch, "index", index, "behind_index", l.before-1)
		}
		l.before = max(l.before, index+1)
	}
}
