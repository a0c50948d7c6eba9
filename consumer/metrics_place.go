package consumer

import (
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark/internal/telemetry"
)

// placeCounts are of all assignments of a partition, those that ended included. They are told from
// the first of them on: a series that begins with its first count has no rate.
type placeCounts struct {
	rebalances atomic.Int64
	took       atomic.Int64 // by them, nanoseconds
	overruns   atomic.Int64
	repeats    [len(repeatCauses)]atomic.Int64
}

// repeatCause is why inputs are handed out again, here or elsewhere. Those that no handler had
// taken are not among them.
type repeatCause uint8

const (
	repeatLost        repeatCause = iota // the membership was: nothing was committed
	repeatAbandoned                      // they ran when the drain's deadline passed
	repeatUncommitted                    // the last commit failed
)

var repeatCauses = [...]string{repeatLost: "lost", repeatAbandoned: "abandoned", repeatUncommitted: "uncommitted"}

func (m *metrics) at(a *Assignment) *placeCounts {
	return m.places.Get(m.part.PlaceOf(a.Topic, a.Partition))
}

func (m *metrics) repeat(a *Assignment, cause repeatCause, n int64) {
	if m != nil && n > 0 {
		m.at(a).repeats[cause].Add(n)
	}
}

func (m *metrics) abandoned(a *Assignment, n int) {
	if m != nil {
		m.at(a).overruns.Add(int64(n))
		m.repeat(a, repeatAbandoned, int64(n))
	}
}

// moved counts a rebalance for each partition that came or left in it.
func (m *metrics) moved(parts []*partition, took time.Duration) {
	if m == nil {
		return
	}
	for _, p := range parts {
		n := m.at(p.assignment)
		n.rebalances.Add(1)
		n.took.Add(int64(took))
	}
}

func (m *metrics) readPlace(r *telemetry.Reading, place telemetry.Place, n *placeCounts) {
	at := r.Place(place, m.group)
	at.Count(telemetry.PartitionRebalances, n.rebalances.Load())
	at.Time(telemetry.PartitionRebalanceTime, time.Duration(n.took.Load()))
	at.Count(telemetry.DrainOverruns, n.overruns.Load())
	for cause, name := range repeatCauses {
		r.Place(place, m.group, telemetry.Reason.String(name)).Count(telemetry.Repeats, n.repeats[cause].Load())
	}
}
