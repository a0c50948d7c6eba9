package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/podstate"
)

// Pod is what there is to see of a consumer without a pipeline, for package admin.
func (c *Consumer) Pod() *podstate.Pod {
	now := time.Now()
	return podstate.Own(c.look(now), c.cfg.Group, c.events.All(), now)
}

// Report is what a consumer without a pipeline tells the sidecar of a producer beside it, for the
// pod's page: see producer.Teller. A pipeline tells it by itself.
func (c *Consumer) Report() podstate.Report {
	r := c.look(time.Now())
	r.Incidents = c.events.Untold()
	return r
}

func (c *Consumer) look(now time.Time) podstate.Report {
	s := c.State()
	r := s.Report(now)
	r.Process.Counters.Done = c.done()
	return r
}

// done is how many inputs are done since the consumer began.
func (c *Consumer) done() int64 {
	for {
		past := c.around.past.Load()
		n := past
		for _, p := range c.parts.all() {
			p.mu.Lock()
			if !p.core.State().Over() {
				n += p.core.Counts().Done
			}
			p.mu.Unlock()
		}
		if c.around.past.Load() == past { // else one has ended meanwhile
			return n
		}
	}
}

// Report is the State as a process tells it. What handlers of a pipeline hold, that adds.
func (s *State) Report(now time.Time) podstate.Report {
	r := podstate.Report{
		Process: podstate.Process{
			Sentinels: podstate.Sentinels{CommitBeyond: int64(s.Sentinels.CommitBeyond), InputSkipped: int64(s.Sentinels.InputSkipped)},
		},
		Partitions: make([]podstate.Partition, 0, len(s.Partitions)),
	}
	if err := errors.Join(s.Err, s.CommitErr); err != nil {
		r.Process.Problem = podstate.Text(err.Error())
	}
	for _, w := range s.Waiting {
		r.Waiting = append(r.Waiting, podstate.Partition{
			Group: s.Membership.Group, Topic: w.Topic, Partition: w.Partition, State: podstate.Waiting, Reason: podstate.Text(w.Error()), Done: []podstate.Run{},
			Offsets: podstate.Offsets{Start: -1, Committed: -1, AckMark: -1, Handled: -1, Fetched: -1, LogEnd: -1},
		})
	}
	for i := range s.Partitions {
		r.Partitions = append(r.Partitions, s.Partitions[i].report(s.Membership.Group, now))
	}
	return r
}

func (s *PartitionState) report(group string, now time.Time) podstate.Partition {
	x := podstate.Partition{
		Topic: s.Topic, Partition: s.Partition, Epoch: s.Epoch, State: podstate.Reading, Group: group,
		Offsets: podstate.Offsets{
			Start: s.Start, Committed: s.Committed, AckMark: s.AckMark, Handled: max(s.Untaken, s.AckMark), Fetched: s.Fetched, LogEnd: max(s.LogEnd, -1),
		},
		Counts: podstate.Counts{
			Read: s.HandedOut + s.Inherited, Inherited: s.Inherited, Done: s.Done, DoneAbove: int64(s.DoneAbove), Pending: int64(s.Pending), PendingBytes: s.PendingBytes,
			Parked: int64(s.Parked), Lost: s.Lost,
		},
		Done: make([]podstate.Run, 0, len(s.DoneRuns)),
	}
	covered := int64(0)
	for _, r := range s.DoneRuns {
		x.Done = append(x.Done, podstate.Run(r))
		covered += r.Last - r.First + 1
	}
	x.DoneMore = len(x.Done) == podstate.MaxRuns && covered < int64(s.DoneAbove)
	switch {
	case s.Halted != nil:
		x.State, x.Reason = podstate.Halted, podstate.Text(s.Halted.Error())
	case s.Paused:
		x.State, x.Reason = podstate.Paused, "what is fetched and not done has reached MaxBytes or MaxRecords; it is read on when some of it is done"
	case s.Unread != nil:
		x.Reason = podstate.Text(s.Unread.Error())
	}
	if s.Oldest.Offset >= 0 {
		x.Oldest = s.oldest()
		x.Oldest.Since = now.Add(-s.Oldest.Age).Round(0)
	}
	return x
}

// oldest is as much as a consumer knows of an input: who took it knows the rest.
func (s *PartitionState) oldest() *podstate.Oldest {
	o := &podstate.Oldest{Offset: s.Oldest.Offset, Lane: -1, Behind: -1}
	switch {
	case s.Halted != nil:
		o.Stage, o.Next = podstate.Stopped, "nothing, until Resume or a restart: mend the cause first"
	case s.Oldest.Started:
		o.Stage, o.Next = podstate.Held, "it is done when its Done is called"
	default:
		o.Stage, o.Next = podstate.Queued, "the loop takes it when it comes to it"
	}
	return o
}

// watched has the hooks note which partitions came or went, beside what the user's do.
func (c *Consumer) watched(user Hooks) Hooks {
	hooks := user
	hooks.Assigned = func(ctx context.Context, m Membership, added []*Assignment) {
		c.rebalanced("assigned", added)
		if user.Assigned != nil {
			user.Assigned(ctx, m, added)
		}
	}
	hooks.Revoking = func(ctx context.Context, leaving []*Assignment) {
		if user.Revoking != nil {
			user.Revoking(ctx, leaving)
		}
		c.rebalanced("revoked", leaving)
	}
	hooks.Lost = func(lost []*Assignment) {
		c.rebalanced("lost", lost)
		if user.Lost != nil {
			user.Lost(lost)
		}
	}
	return hooks
}

func (c *Consumer) rebalanced(what string, list []*Assignment) {
	if len(list) == 0 {
		return
	}
	names := make([]string, 0, 4)
	for _, a := range list[:min(len(list), 3)] {
		names = append(names, fmt.Sprintf("%s %d", a.Topic, a.Partition))
	}
	if len(list) > 3 {
		names = append(names, "…")
	}
	c.events.Add(podstate.Rebalance, "", 0, fmt.Sprintf("%d partitions %s: %s", len(list), what, strings.Join(names, ", ")))
}
