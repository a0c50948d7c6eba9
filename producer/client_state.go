package producer

import (
	"fmt"
	"slices"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/podwire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	// tellEvery is how often the state is told, as far as it changed.
	tellEvery = time.Second
	// tellAllAfter so many reports, all of it is told.
	tellAllAfter = 10
	// sameSince is by how much two readings of one moment may differ.
	sameSince = 50 * time.Millisecond
)

// tellers are who tells this process's state: nearly always one pipeline. The client's lock guards
// them.
type tellers struct {
	list []*teller
}

type teller struct{ report func() podstate.Report }

// Tell implements Teller.
func (c *client) Tell(report func() podstate.Report) (stop func()) {
	t := &teller{report}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tellers.list = append(c.tellers.list, t)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.tellers.list = slices.DeleteFunc(c.tellers.list, func(x *teller) bool { return x == t })
	}
}

// telling is what a stream has told. The watching goroutine's own.
type telling struct {
	reports int
	told    map[uint64]podstate.Partition // by epoch, as told last
}

// tell queues what changed since the last report. While that is not sent, nothing is told: the
// stream has no room for it. Who has no state to tell tells what happened to it all the same.
func (s *stream) tell(t *telling, now time.Time) {
	s.mu.Lock()
	list, waits := slices.Clone(s.tellers.list), len(s.states) > 0
	direct := s.fall.usage.stats(now).Active
	s.mu.Unlock()
	if waits {
		return
	}
	incidents := s.fall.events.Untold()
	var messages []*sidecarpb.DeliveryStreamRequest
	switch {
	case len(list) > 0:
		r := join(list)
		r.Process.Direct = direct
		r.Incidents = append(incidents, r.Incidents...) // before those that there may be too many of
		r.Partitions = t.changed(r.Partitions)
		messages = podwire.Messages(&r, now)
	case len(incidents) > 0:
		messages = podwire.Happened(incidents, now)
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states = messages
	s.wakeWriter()
}

// detoured notes, when it is over, that units went past the sidecar, and why. Before that there is
// no stream on which it could be told.
func (f *fallback) detoured(spent time.Duration, why string) {
	f.events.Add(podstate.Fallback, "", 0, fmt.Sprintf("units went past the sidecar for %v, %v in all: %s", spent.Round(time.Millisecond), f.usage.spent.Round(time.Millisecond), why))
}

// join is what several pipelines over one client tell.
func join(list []*teller) podstate.Report {
	all := list[0].report()
	for _, t := range list[1:] {
		r := t.report()
		a, b := &all.Process, &r.Process
		a.Lanes, a.Busy, a.Queued, a.Finished = a.Lanes+b.Lanes, a.Busy+b.Busy, a.Queued+b.Queued, a.Finished+b.Finished
		if a.Problem == "" {
			a.Problem = b.Problem
		}
		a.Counters = a.Counters.Plus(b.Counters)
		all.Partitions = append(all.Partitions, r.Partitions...)
		all.Waiting = append(all.Waiting, r.Waiting...)
		all.Incidents = append(all.Incidents, r.Incidents...)
	}
	return all
}

// changed are the partitions that differ from what was told, and all of them now and then.
func (t *telling) changed(list []podstate.Partition) []podstate.Partition {
	before := t.told
	t.told = make(map[uint64]podstate.Partition, len(list))
	all := t.reports%tellAllAfter == 0
	t.reports++
	out := list[:0:0]
	for i := range list {
		p := &list[i]
		old, known := before[p.Epoch]
		if known && p.Oldest != nil && old.Oldest != nil && p.Oldest.Offset == old.Oldest.Offset && p.Oldest.Since.Sub(old.Oldest.Since).Abs() < sameSince {
			p.Oldest.Since = old.Oldest.Since
		}
		if all || !known || !p.Equal(&old) {
			out = append(out, *p)
		}
		t.told[p.Epoch] = *p
	}
	return out
}

// sendState sends one of the queued messages. The lock is given up meanwhile.
func (s *stream) sendState() {
	m := s.states[0]
	s.states = s.states[1:]
	s.mu.Unlock()
	defer s.mu.Lock()
	s.send(m)
}

// tellsState tells whether the sidecar takes it.
func tellsState(w *sidecarpb.Welcome) bool { return slices.Contains(w.GetFeatures(), podwire.Feature) }
