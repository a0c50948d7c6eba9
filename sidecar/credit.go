package sidecar

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/sidecar/internal/credits"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What sessions may have is divided among those that are open, by package credits: half of it into
// MaxSessions floors that nobody can take, the other half equally among those that are at work. One
// may have three quarters of that half in records, and a quarter of it in bytes: what one that is
// stuck keeps leaves the others something. A pod with a few apps runs each at full speed, and one
// with MaxSessions apps still bounds their sum (S9).
//
// Where there are transactions one may have three quarters in bytes, too: what it sends stays
// outstanding until its transaction ends, and one is ended when three quarters of a credit wait for
// it. Each costs a broker some milliseconds.

// restEvery is how often sessions are looked at: one of which restLooks in a row find that it
// received nothing and has nothing outstanding, rests. One that has a unit now and then does not
// come and go with each of them, for everybody's credit is another one then.
const (
	restEvery = time.Second
	restLooks = 10
)

func (c *Config) floor() credits.Cost {
	return credits.Cost{Bytes: c.floorBytes(), Records: int64(c.floorRecords())}
}

func (c *Config) credits() *credits.Pool[*session] {
	whole := credits.Cost{Bytes: c.MaxBytes / 16 * 7, Records: int64(c.MaxRecords / 16 * 7)}
	most := credits.Cost{Bytes: whole.Bytes / 4, Records: whole.Records / 4 * 3}
	if c.TransactionalID != "" {
		most.Bytes *= 3
	}
	return credits.New[*session](c.floor(), whole, most)
}

// grant is a session's credit.
type grant struct {
	member *credits.Member[*session] // under the table's lock; nil: it has the floor
	looked uint64                    // what was received at the last look; under the table's lock
	quiet  int                       // looks in a row that found nothing; under the table's lock
	fixed  bool                      // its client takes no smaller one; set before the session is used

	resting atomic.Bool // the receiver says when something comes
	over    atomic.Bool // the sender says when something was reported

	mu   sync.Mutex
	told credits.Cost // its client was
	may  credits.Cost // be outstanding all the same
	most int64        // records that it was ever told
}

// bound is what may be outstanding.
func (g *grant) bound() credits.Cost {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.may
}

// unheard is how many reports its client may not have heard of. They were of the credit that it had
// then: a smaller one does not bound them.
func (g *grant) unheard() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(g.most)
}

// message is the credit as its client is told it.
func (g *grant) message(number uint64) *sidecarpb.Credit {
	g.mu.Lock()
	defer g.mu.Unlock()
	return &sidecarpb.Credit{Bytes: uint64(g.told.Bytes), Records: uint64(g.told.Records), Number: number}
}

// lend sets what a session may have outstanding, and what its client knows of it. The whole of it
// may be pinned twice: once by what is on its way, once by frames of which one slow record is left.
func (s *session) lend(told, may credits.Cost) {
	s.credit.mu.Lock()
	defer s.credit.mu.Unlock()
	s.credit.told, s.credit.may, s.credit.most = told, may, max(s.credit.most, told.Records)
	s.intake.pinned.Limit(2*may.Bytes, int(2*may.Records))
	s.claims.bound(told.Records)
}

// outstanding is what of its credit the session uses, as far as that can be lent to others.
func (s *session) outstanding() (used credits.Cost, received uint64) {
	s.mu.Lock()
	used, received = s.ledger.Outstanding().Cost, s.ledger.Received()
	s.mu.Unlock()
	bytes, records := s.intake.pinned.Held()
	return credits.Cost{Bytes: max(used.Bytes, bytes/2), Records: max(used.Records, records/2)}, received
}

// sendCredit tells the client of its credit, and asks for its word if there is a number. One that
// was not sent yet is replaced: who does not read gathers none.
func (s *session) sendCredit(number uint64) {
	m := &sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Credit{Credit: s.credit.message(number)}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.cold, func(m *sidecarpb.DeliveryStreamResponse) bool { return m.GetCredit() != nil }); i >= 0 {
		s.cold[i] = m
		return
	}
	if s.state.streams() { // Welcome says it otherwise
		s.queue(m)
	}
}

// giveCredit makes a session one of those that share. mu is held.
func (t *table) giveCredit(s *session) {
	s.credit.member = t.pool.Join(s, s.credit.fixed)
	t.setCredit(s.credit.member)
	t.balance()
}

// takeCredit takes the credit of one that is over. mu is held.
func (t *table) takeCredit(s *session) {
	if s.credit.member != nil {
		t.pool.Leave(s.credit.member)
		s.credit.member = nil
	}
}

// setCredit takes over what the pool says of one. mu is held.
func (t *table) setCredit(m *credits.Member[*session]) {
	m.Owner.lend(t.pool.Told(m), t.pool.Bound(m))
	m.Owner.credit.over.Store(m.Over())
}

// balance tells everybody whose credit is another one. mu is held.
func (t *table) balance() {
	for _, m := range t.pool.Balance() {
		t.setCredit(m)
		m.Owner.sendCredit(m.Asked())
	}
}

// creditTaken is the client's word that what follows keeps the smaller credit of this number.
func (t *table) creditTaken(s *session, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := s.credit.member
	if m == nil || number == 0 || m.Asked() != number {
		return
	}
	used, _ := s.outstanding()
	t.pool.Answered(m, number, used)
	t.setCredit(m)
	t.balance()
}

// creditHeard is for a client that goes on with another stream, and hears its credit by Welcome.
func (t *table) creditHeard(s *session) {
	t.mu.Lock()
	m := s.credit.member
	number := uint64(0)
	if m != nil {
		number = m.Asked()
	}
	t.mu.Unlock()
	t.creditTaken(s, number)
}

// creditReported takes back what a smaller credit left outstanding.
func (t *table) creditReported(s *session) {
	if !s.credit.over.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := s.credit.member; m != nil {
		used, _ := s.outstanding()
		t.pool.Reported(m, used)
		t.setCredit(m)
		t.balance()
	}
}

// wake is called when something comes from a session, which may have rested.
func (t *table) wake(s *session) {
	if !s.credit.resting.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.credit.resting.Store(false)
	s.credit.quiet = 0
	if m := s.credit.member; m != nil {
		t.pool.Rests(m, false)
		t.balance()
	}
}

// watchRest looks who rests, until the context ends.
func (t *table) watchRest(ctx context.Context) {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.lookWhoRests()
		}
	}
}

func (t *table) lookWhoRests() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byID {
		m := s.credit.member
		if m == nil {
			continue
		}
		used, received := s.outstanding()
		s.credit.quiet++
		if received != s.credit.looked || used != (credits.Cost{}) {
			s.credit.quiet = 0
		}
		if s.credit.quiet >= restLooks && !s.credit.resting.Load() {
			t.pool.Rests(m, true)
			s.credit.resting.Store(true)
		}
		s.credit.looked = received
		t.pool.Reported(m, used) // what its frames pinned is free without a report
		t.setCredit(m)
	}
	t.balance()
}
