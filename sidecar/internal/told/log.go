package told

import (
	"slices"
	"sync"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
)

const (
	// kept is how many incidents outlive their session.
	kept = 128
	// shown is how many a status has at most.
	shown = 256
)

// Log is what happened in the sidecar, and to sessions that are over.
type Log struct {
	room *limit.Commons

	mu        sync.Mutex
	incidents podstate.Incidents
}

// NewLog also bounds what sessions may tell: an eighth of maxBytes for all of them.
func NewLog(maxBytes int64, maxSessions int) *Log {
	return &Log{room: limit.NewCommons(maxBytes/8, maxSessions), incidents: podstate.NewIncidents(kept)}
}

// Add notes an incident.
func (l *Log) Add(in podstate.Incident) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in.Reason = podstate.Text(in.Reason)
	l.incidents.Add(in)
}

// All are those of the log and of living sessions, the newest first.
func (l *Log) All(living []*Session) []podstate.Incident {
	l.mu.Lock()
	all := l.incidents.List()
	l.mu.Unlock()
	for _, s := range living {
		all = append(all, s.Incidents()...)
	}
	slices.SortStableFunc(all, func(a, b podstate.Incident) int { return b.Time.Compare(a.Time) })
	return all[:min(len(all), shown)]
}
