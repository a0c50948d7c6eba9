package flows

import (
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// How sessions begin, or do not.
const (
	Opened   = "new"
	Resumed  = "resumed"
	Restored = "restored" // found in the state directory
	Fenced   = "fenced"   // refused
)

// How wills end.
const (
	WillComplete   = "complete"
	WillLate       = "late"
	WillRefused    = "refused" // by us: the group is in another cluster
	WillSuperseded = "superseded"
	WillFailed     = "failed"
)

// Sessions are those of an app: what became of them is counted by how they began, how wills ended,
// and why there was none. What there was not yet is told as 0, but the last.
type Sessions struct {
	Began   telemetry.Tally
	Wills   telemetry.Tally
	Skipped telemetry.Tally
}

func newSessions() Sessions {
	return Sessions{
		Began:   telemetry.NewTally(Opened, Resumed, Restored, Fenced),
		Wills:   telemetry.NewTally(WillComplete, WillLate, WillRefused, WillSuperseded, WillFailed),
		Skipped: telemetry.NewTally(),
	}
}

func (s *Sessions) tell(r *telemetry.Reading, app attribute.KeyValue) {
	each := func(t telemetry.Tally, m *telemetry.Metric, of func(string) attribute.Set) {
		t.Each(func(name string, n *atomic.Uint64) { r.Count(m, int64(n.Load()), of(name)) })
	}
	outcome := func(name string) attribute.Set { return attribute.NewSet(app, telemetry.Outcome.String(name)) }
	each(s.Began, telemetry.SessionsOpened, outcome)
	each(s.Wills, telemetry.Wills, outcome)
	each(s.Skipped, telemetry.Wills, func(why string) attribute.Set {
		return attribute.NewSet(app, telemetry.Outcome.String("skipped"), telemetry.Reason.String(why))
	})
}
