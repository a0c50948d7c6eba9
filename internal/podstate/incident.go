package podstate

import (
	"slices"
	"time"
)

// Kind is what happened.
type Kind string

// Kinds of incidents.
const (
	Rebalance  Kind = "rebalance"   // partitions came or went
	Will       Kind = "will"        // a process died, and its will ended as Reason says
	Fence      Kind = "fence"       // a process was taken for dead, and came back
	Fallback   Kind = "fallback"    // a process goes past the sidecar, or comes back
	Halt       Kind = "halt"        // a partition stands still
	DeadLetter Kind = "dead_letter" // an input was rejected, and went to the dead-letter topic
	Abort      Kind = "abort"       // a transaction was aborted, and what was in it is tried again
)

// Kinds are all of them.
var Kinds = []Kind{Rebalance, Will, Fence, Fallback, Halt, DeadLetter, Abort}

// Incident is what happened once, or Count times in a short while.
type Incident struct {
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	App  string    `json:"app,omitempty"`
	// Session of the app; empty: of the sidecar itself.
	Session string `json:"session,omitempty"`
	// Topic and Partition that it is about; an empty Topic: none.
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	// Count is how many of them this stands for: those of one kind and place within a second; of
	// aborts those with less than a minute between them, in ten minutes.
	Count int64 `json:"count"`
	// Reason of it; of several aborts that of the last.
	Reason string `json:"reason"`
}

// With aborts that follow each other more slowly than once a second, whatever happens in between,
// are one burst until a minute passes without. What goes on for long is told again.
const (
	betweenAborts = time.Minute
	longBurst     = 10 * time.Minute
)

// Incidents are the last ones: a ring. The zero value keeps nothing; see [NewIncidents].
type Incidents struct {
	most   int
	list   []Incident // grows up to most: who has nothing to tell keeps no room for it
	next   int
	all    uint64
	sealed uint64    // those up to here were told: nothing is counted with them any more
	burst  uint64    // which one the last abort was counted with, by the number that all was then
	last   time.Time // when that was
}

// NewIncidents keeps the last n.
func NewIncidents(n int) Incidents { return Incidents{most: n} }

// Add takes an incident. One of the kind and place of the last one, less than a second after it, is
// counted with it: a storm must not push out what came before it.
func (r *Incidents) Add(in Incident) {
	if r.most == 0 {
		return
	}
	in.Count = max(in.Count, 1)
	if in.Kind == Abort {
		defer func() { r.last = in.Time }()
		if r.addToBurst(&in) {
			return
		}
		r.burst = r.all + 1
	}
	if n := len(r.list); n > 0 {
		last := &r.list[(r.next+n-1)%n]
		if r.all > r.sealed && same(last, &in) && in.Time.Sub(last.Time) < time.Second {
			last.Count += in.Count
			return
		}
	}
	r.all++
	if len(r.list) < r.most {
		r.list = append(r.list, in)
		return
	}
	r.list[r.next] = in
	r.next = (r.next + 1) % len(r.list)
}

// addToBurst counts an abort with the burst that it belongs to.
func (r *Incidents) addToBurst(in *Incident) bool {
	n := uint64(len(r.list))
	if r.burst <= r.sealed || r.burst+n <= r.all {
		return false // there is none, it was told, or it is not kept any more
	}
	first := &r.list[(r.next+int(n-1-(r.all-r.burst)))%int(n)]
	if !same(first, in) || in.Time.Sub(r.last) >= betweenAborts || in.Time.Sub(first.Time) >= longBurst {
		return false
	}
	first.Count += in.Count
	first.Reason = in.Reason
	return true
}

func same(a, b *Incident) bool {
	return a.Kind == b.Kind && a.App == b.App && a.Session == b.Session && a.Topic == b.Topic && a.Partition == b.Partition
}

// Added is how many were kept since the beginning: it tells one state of the ring from the next.
func (r *Incidents) Added() uint64 { return r.all }

// After is what was kept since Added was n, as far as it still is, the oldest first. Nothing is
// counted with it any more.
func (r *Incidents) After(n uint64) []Incident {
	r.sealed = r.all
	out := append(slices.Clone(r.list[r.next:]), r.list[:r.next]...)
	return out[len(out)-int(min(r.all-min(n, r.all), uint64(len(out)))):]
}

// List is what is kept, the newest first.
func (r *Incidents) List() []Incident {
	out := append(slices.Clone(r.list[r.next:]), r.list[:r.next]...)
	slices.Reverse(out)
	return out
}
