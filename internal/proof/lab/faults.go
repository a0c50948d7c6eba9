package lab

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fault is one that was installed.
type fault struct {
	*kfake.FaultHandle
	count   int
	forever bool
	commits bool                       // a last commit may fail by it, or the membership that it needs
	last    *atomic.Pointer[time.Time] // when a request met it
}

// membership is what a last commit depends on.
var membership = []kmsg.Key{kmsg.OffsetCommit, kmsg.Heartbeat, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.ConsumerGroupHeartbeat}

// Fault installs faults in the brokers, until Heal or their count is used up.
func (l *Lab) Fault(f kfake.Fault) *kfake.FaultHandle {
	l.Note("fault %v on %v (topic %q, group %q), %d times", f.Err, f.Keys, f.Topic, f.Group, f.Count)
	last, when := new(atomic.Pointer[time.Time]), f.When
	f.When = func(req kmsg.Request) bool {
		meets := when == nil || when(req)
		if meets {
			last.Store(new(time.Now()))
		}
		return meets
	}
	h := l.Cluster.Fault(f)
	l.mu.Lock()
	defer l.mu.Unlock()
	expels := slices.Contains(f.Keys, kmsg.Heartbeat) || slices.Contains(f.Keys, kmsg.ConsumerGroupHeartbeat) // who is told so commits nothing any more, also when the fault is over
	commits := f.Keys == nil || slices.ContainsFunc(membership, func(k kmsg.Key) bool { return slices.Contains(f.Keys, k) })
	l.faults = append(l.faults, fault{h, max(f.Count, 1), f.Count < 0 || expels, commits, last})
	return h
}

// faultLasts is how long a request that met a fault has consequences: until the member has joined
// again.
const faultLasts = 5 * time.Second

// commitsFail tells whether a last commit may fail because a fault is waiting for it, or has just
// hit. From any goroutine.
func (l *Lab) commitsFail() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.faults, func(f fault) bool {
		last := f.last.Load()
		return f.commits && (f.forever || f.Hits() < f.count || last != nil && time.Since(*last) < faultLasts)
	})
}
