package podstate

import (
	"os"
	"slices"
	"sync"
	"time"
)

// Events are what happened lately in a process, for who looks at it: the last [MaxIncidents].
type Events struct {
	mu   sync.Mutex
	list Incidents
	told uint64
}

// Add notes that something happened now.
func (e *Events) Add(kind Kind, topic string, partition int32, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if cap(e.list.list) == 0 {
		e.list = NewIncidents(MaxIncidents)
	}
	e.list.Add(Incident{Time: time.Now(), Kind: kind, Topic: topic, Partition: partition, Reason: Text(reason)})
}

// Untold are those since the last call.
func (e *Events) Untold() []Incident {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list.After(e.told)
	e.told = e.list.Added()
	return list
}

// All are all that are kept, the newest first.
func (e *Events) All() []Incident {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.list.List()
}

// Newest are two lists as one. In each the newest is the first.
func Newest(a, b []Incident) []Incident {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(x, y Incident) int { return y.Time.Compare(x.Time) })
	return all
}

// Own is what there is to see of this process, which has no sidecar, or does not look at it.
func Own(r Report, group string, events []Incident, now time.Time) *Pod {
	self := Session{
		ID: "own", App: group, PID: os.Getpid(), State: "own", Groups: []string{group}, Partitions: len(r.Partitions), Told: now, Process: &r.Process,
		ExactlyOnce: r.Process.Transactions != nil,
	}
	pod := &Pod{
		Time: now, Sessions: []Session{self}, Partitions: append(append([]Partition{}, r.Partitions...), r.Waiting...), Queues: []Queue{},
		Incidents: append([]Incident{}, events...), Latency: r.Process.Latency, Counters: r.Process.Counters, Sentinels: &r.Process.Sentinels,
	}
	for i := range pod.Partitions {
		x := &pod.Partitions[i]
		x.Session, x.App, x.Group = self.ID, self.App, group
	}
	for i := range pod.Incidents {
		pod.Incidents[i].App, pod.Incidents[i].Session = self.App, self.ID
	}
	return pod
}
