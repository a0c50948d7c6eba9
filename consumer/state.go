package consumer

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/internal/lifecycle"
)

// State is a snapshot, made without asking a broker.
type State struct {
	// Running tells that Run has begun and not returned.
	Running bool
	// Joined tells that the group was joined, with this Membership. Before that only its Group,
	// InstanceID and Consumer are known.
	Joined     bool
	Membership Membership
	// Partitions held, by topic and number.
	Partitions []PartitionState
	// Waiting are the partitions that the group assigned to this member and that cannot be read
	// yet, by topic and number.
	Waiting []*WaitingError
	// Err is why the consumer stopped by itself, if it did.
	Err error
	// CommitErr is why the last commit failed: nil once one succeeded.
	CommitErr error
	// Sentinels must stay 0: CommitBeyond is looked at with every commit, InputSkipped with every
	// commit and every start. The others are 0 here.
	Sentinels ackmark.Sentinels
}

// PartitionState is where one partition stands in its present assignment. Offsets are -1 where they
// are not known.
type PartitionState struct {
	Topic     string
	Partition int32
	Epoch     uint64 // assignment epoch
	Start     int64  // offset that the assignment started from

	LogEnd    int64 // the broker's high watermark as of the last fetch, or where its log ended when nothing came and it was asked
	Fetched   int64 // first offset that was not handed out yet; what was fetched beyond is Parked
	Untaken   int64 // first offset that no handler has taken yet; Fetched when all that were handed out are
	HandedOut int64 // inputs handed out in this assignment
	Inherited int64 // inputs read in this assignment and not handed out: a done-set said that they were done before it
	Done      int64 // inputs done in this assignment
	AckMark   int64 // first offset that is not done
	Committed int64 // what the group has

	Oldest       Oldest // the oldest input that is not done
	Pending      int    // inputs handed out and not done
	PendingBytes int64
	DoneAbove    int   // done inputs above the ack mark
	DoneRuns     []Run // they, as runs of offsets, increasing: the first ones, at most 32
	Parked       int   // records fetched and held back, because a done-set could not describe more
	Lost         int64 // offsets skipped because OnOutOfRange said so
	Paused       bool  // by the memory budget, or halted
	Halted       error // *HaltError, or nil
	Unread       error // *UnreadError: nothing comes of it although it should; or nil
}

// Oldest names an input: Offset -1 means that there is none. Index is its position in fetch order,
// Age since it was handed out; Started: a handler took it.
type Oldest struct {
	Offset  int64
	Index   uint64
	Age     time.Duration
	Started bool
}

// Run is the offsets First to Last.
type Run struct{ First, Last int64 }

// maxRuns bounds DoneRuns.
const maxRuns = 32

// Lag is how many offsets lie between the ack mark and the end of the log: -1 while that is not
// known.
func (s PartitionState) Lag() int64 {
	if s.LogEnd < 0 {
		return -1
	}
	return max(0, s.LogEnd-s.AckMark)
}

// Lag is the sum over the partitions held, of those that are known.
func (s State) Lag() int64 {
	var lag int64
	for _, p := range s.Partitions {
		lag += max(0, p.Lag())
	}
	return lag
}

// State tells where the consumer stands. It asks no broker and may be called at any time, from
// anywhere.
func (c *Consumer) State() State {
	s := State{Membership: Membership{Group: c.cfg.Group, InstanceID: c.cfg.InstanceID, Consumer: c.group.identity.number}}
	s.Running = c.life.Phase() == lifecycle.Running
	if m := c.group.current.Load(); m != nil {
		s.Joined, s.Membership = true, *m
	}
	s.Err, s.CommitErr = c.troubles.errors()
	s.Waiting = c.group.waiting.errors()
	s.Sentinels = c.around.watch.Counts()
	now := c.clock.now()
	for _, p := range c.parts.all() {
		s.Partitions = append(s.Partitions, p.state(now))
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionState) int {
		if a.Topic != b.Topic {
			if a.Topic < b.Topic {
				return -1
			}
			return 1
		}
		return int(a.Partition - b.Partition)
	})
	return s
}

// untaken is the first offset that was handed out and that no handler took, under mu.
func (p *partition) untaken() int64 {
	for _, r := range p.hand.runs {
		if r == nil {
			continue
		}
		for i := range r.states {
			if atomic.LoadUint32(&r.states[i]) == 0 {
				return r.Messages[i].offset()
			}
		}
	}
	return p.core.Next()
}

func (p *partition) state(now int64) PartitionState {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, n := p.assignment, p.core.Counts()
	s := PartitionState{
		Topic: a.Topic, Partition: a.Partition, Epoch: a.Epoch, Start: a.Start,
		LogEnd: p.ends.high, Fetched: p.core.Next(), HandedOut: n.Read, Done: n.Done, AckMark: p.core.Mark(), Committed: n.Committed,
		Pending: n.Pending, PendingBytes: n.Bytes, DoneAbove: n.DoneAbove, Lost: p.lost, Paused: p.paused,
		Inherited: n.Inherited, Parked: len(p.parked.recs),
		Oldest: Oldest{Offset: -1},
	}
	if m := p.oldest(); m != nil {
		s.Oldest = Oldest{Offset: m.offset(), Index: m.index(), Age: time.Duration(now - m.run.at), Started: atomic.LoadUint32(m.state())&started != 0}
	}
	s.Untaken = p.untaken()
	for first, last := range p.core.DoneRuns() {
		if len(s.DoneRuns) == maxRuns {
			break
		}
		s.DoneRuns = append(s.DoneRuns, Run{first, last})
	}
	if p.halted != nil {
		s.Halted = p.halted
	}
	if e := p.unread(now); e != nil {
		s.Unread = e
	}
	return s
}
