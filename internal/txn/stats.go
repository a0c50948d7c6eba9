package txn

import (
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/telemetry"
)

// stats are counts of a lane's life. The lane writes them, anybody reads them.
type stats struct {
	windows, aborted, unknown, reinits atomic.Int64
	units, abortedUnits                atomic.Int64
	uncommitted                        atomic.Pointer[time.Time] // since when; nil: there is nothing to commit
	reasons                            telemetry.Tally           // of the aborted ones
	parked                             atomic.Pointer[time.Time] // since when units of some group are; nil: there are none
}

// Stats are the counts up to now.
type Stats struct {
	Windows, Aborted, Unknown, Reinits int64
	// Units of the committed transactions, and of the aborted ones.
	Units, AbortedUnits int64
	// Age is the time since the last commit, or since there is something to commit, if that is
	// later; or since some units wait for their group, if that is longer. 0: there is nothing.
	Age time.Duration
}

// Stats are the counts up to now.
func (l *Lane) Stats() Stats {
	s := &l.stats
	out := Stats{
		Windows: s.windows.Load(), Aborted: s.aborted.Load(), Unknown: s.unknown.Load(), Reinits: s.reinits.Load(),
		Units: s.units.Load(), AbortedUnits: s.abortedUnits.Load(),
	}
	if since := s.uncommitted.Load(); since != nil {
		out.Age = time.Since(*since)
	}
	if since := s.parked.Load(); since != nil {
		out.Age = max(out.Age, time.Since(*since))
	}
	return out
}

// Held tells why nothing is committed: the ids are not taken, or there is something to commit for
// longer than a transaction may take. "": the lane goes on. An outcome that is uncertain for a
// while, or a group whose coordinator is away, is not told: others are committed meanwhile. After
// Start.
func (l *Lane) Held() string {
	state := l.State()
	switch since := l.stats.uncommitted.Load(); {
	case state == Starting:
		why := fmt.Sprintf("its ids are being taken since %s", time.Since(l.begun).Round(time.Millisecond))
		if r := l.ids.refused.Load(); r != nil {
			why += fmt.Sprintf("; the last answer, for %s: %v", r.id, r.err)
		}
		return why
	case state == Fenced, state == Ended:
		return "its lane has " + Ended.String()
	case since != nil && time.Since(*since) > l.cfg.Timeout:
		return fmt.Sprintf("nothing was committed for %s, which is longer than a transaction may take (%s); state %s",
			time.Since(*since).Round(time.Millisecond), l.cfg.Timeout, state)
	}
	return ""
}

// Seen is how the lane goes, for who looks at its process.
func (l *Lane) Seen(now time.Time) *podstate.Transactions {
	s := l.Stats()
	t := &podstate.Transactions{
		ID: l.cfg.ID, State: l.State().String(), Committed: s.Windows, Aborted: s.Aborted, Unknown: s.Unknown, Renewals: s.Reinits,
	}
	if s.Age > 0 {
		t.UncommittedSince = now.Add(-s.Age)
	}
	return t
}

// parks notes whether units wait for their group, while those of others are committed.
func (s *stats) parks(some bool, now time.Time) {
	if some {
		s.parked.CompareAndSwap(nil, &now)
	} else {
		s.parked.Store(nil)
	}
}

// waits notes that there is something to commit. What waited before an abort waits on.
func (s *stats) waits(now time.Time) { s.uncommitted.CompareAndSwap(nil, &now) }

// idle notes that there is nothing.
func (s *stats) idle() { s.uncommitted.Store(nil) }

func (s *stats) commit(w *window, took *Took) {
	s.windows.Add(1)
	s.units.Add(int64(w.units))
	s.idle()
	if took != nil {
		took.committed.Time(time.Since(w.opened))
	}
}

func (s *stats) abort(w *window, took *Took) {
	s.aborted.Add(1)
	s.abortedUnits.Add(int64(w.units))
	if took != nil {
		took.aborted.Time(time.Since(w.opened))
	}
}

// Outcomes of transactions.
const (
	asCommitted = "committed"
	asAborted   = "aborted"
	asUnknown   = "unknown"
)

// Took tells how long transactions take. A nil one tells nobody.
type Took struct{ committed, aborted *telemetry.Recorder }

// NewTook is for the transactions of an id. Nil, where nobody reads it.
func NewTook(part *telemetry.Part, id string) *Took {
	h := part.Histogram(telemetry.TransactionTime)
	if h == nil {
		return nil
	}
	with := func(outcome string) *telemetry.Recorder {
		return h.With(telemetry.TransactionalID.String(id), telemetry.Outcome.String(outcome))
	}
	return &Took{with(asCommitted), with(asAborted)}
}

// Rows are what [Lane.Tell] tells.
var Rows = []*telemetry.Metric{telemetry.Transactions, telemetry.TransactionUnits, telemetry.TransactionAborts, telemetry.TransactionAge, telemetry.TransactionalIDs, telemetry.RenewedIDs}

// Tell tells who collects how the lane goes.
func (l *Lane) Tell(r *telemetry.Reading) {
	s := l.Stats()
	id := telemetry.TransactionalID.String(l.cfg.ID)
	for outcome, n := range map[string]int64{asCommitted: s.Windows, asAborted: s.Aborted, asUnknown: s.Unknown} {
		r.Count(telemetry.Transactions, n, attribute.NewSet(id, telemetry.Outcome.String(outcome)))
	}
	for outcome, n := range map[string]int64{asCommitted: s.Units, asAborted: s.AbortedUnits} {
		r.Count(telemetry.TransactionUnits, n, attribute.NewSet(id, telemetry.Outcome.String(outcome)))
	}
	l.stats.reasons.Each(func(why string, n *atomic.Uint64) {
		r.Count(telemetry.TransactionAborts, int64(n.Load()), attribute.NewSet(id, telemetry.ErrorType.String(why)))
	})
	r.Time(telemetry.TransactionAge, s.Age, attribute.NewSet(id))
	r.Count(telemetry.TransactionalIDs, 1, attribute.NewSet(id, telemetry.State.String(l.State().Told())))
	r.Count(telemetry.RenewedIDs, s.Reinits, attribute.NewSet(id))
}
