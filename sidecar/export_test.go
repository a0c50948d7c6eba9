package sidecar

import (
	"context"
	"fmt"
	"time"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lastwill"
	"github.com/ackmark/ackmark/internal/proof/verify/leftover"
	"github.com/ackmark/ackmark/sidecar/internal/calls"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/peer"
)

// ProvesDeaths: this system tells who is at the other end of a unix socket, and when that process
// ends.
const ProvesDeaths = peer.ProvesDeaths

// Rest is after what time without a message nobody waits to send.
const Rest = rest

// Pinned returns the received bytes that records still need, for tests of the memory bound.
func (s *Server) Pinned() (bytes, records int64) { return s.sink.pinned.Held() }

// Credit returns what the next session is granted.
func (s *Server) Credit() (bytes int64, records int) {
	t := s.sessions
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.pool.Join(nil, true) // as the tests' clients: fixed
	c := t.pool.Told(m)
	t.pool.Leave(m)
	return c.Bytes, int(c.Records)
}

// UnreadEmits returns the emits whose message is not read.
func (s *Server) UnreadEmits() int32 {
	_, unread, _ := s.calls.Of(calls.Emit).Counts()
	return int32(unread)
}

// OpenCalls returns the calls that are open as tap counts them.
func (s *Server) OpenCalls() (emits, streams int32) {
	e, _, _ := s.calls.Of(calls.Emit).Counts()
	d, _, _ := s.calls.Of(calls.Delivery).Counts()
	return int32(e), int32(d)
}

// WillOutcome is what a will did.
type WillOutcome struct {
	Committed        int
	Superseded, Left bool
}

// ExecuteWill executes a will for partitions of a topic, with their ack marks, in the name of a
// member of group g.
func (s *Server) ExecuteWill(ctx context.Context, member string, generation int32, proven bool, topic string, topicID [16]byte, marks []int64) (WillOutcome, error) {
	w := lastwill.Will{Member: groupcommit.Member{Group: "g", MemberID: member, Generation: generation}, Proven: proven, Log: s.log}
	for p, mark := range marks {
		w.Standings = append(w.Standings, lastwill.Standing{Epoch: uint64(p) + 1, Topic: topic, TopicID: topicID, Partition: int32(p), Mark: mark})
	}
	did := w.Execute(ctx, s.brokers.Coordinator(s.wills.life))
	return WillOutcome{did.Partitions, did.Superseded != nil, did.Left}, did.Err
}

// Calls returns the calls that are open, unread and being read, by kind.
func (s *Server) Calls() (out [calls.Kinds][3]int) {
	for k := range out {
		out[k][0], out[k][1], out[k][2] = s.calls.Of(calls.Kind(k)).Counts()
	}
	return out
}

// LeftOver names what is taken of any limit, and is empty when everything was given back.
func (s *Server) LeftOver() string {
	var left leftover.List
	check := left.Check
	checkMeter := func(what string, m *limit.Meter) {
		bytes, records := m.Held()
		check(what+", bytes", bytes)
		check(what+", records", records)
	}
	for k := range s.calls {
		open, unread, reading := s.calls.Of(calls.Kind(k)).Counts()
		check(fmt.Sprintf("open calls of kind %d:", k), int64(open))
		check(fmt.Sprintf("unread calls of kind %d:", k), int64(unread))
		check(fmt.Sprintf("readers of kind %d:", k), int64(reading))
	}
	checkMeter("pinned", s.sink.pinned)
	checkMeter("emits", s.service.emitter.all)
	check("tracker entries lent", s.sessions.common.Entries.Lent())
	check("kept bytes lent", s.sessions.common.Kept.Lent())
	shelves := int64(0)
	for _, a := range s.apps.All() {
		for what, m := range map[string]*limit.Meter{"outstanding": a.Outstanding, "pinned": a.Pinned, "emits": a.Emits} {
			checkMeter(a.Name+" "+what, m)
		}
		check(a.Name+" waits", int64(a.Waits.Load()))
		check(a.Name+" reads", int64(a.Reads.Load()))
		check(a.Name+" users", int64(a.Users.Load()))
		kept, finished, places, own := a.Ring.Left()
		check(a.Name+" places of the ring beside its reports", places-kept)
		check(a.Name+" reports that are not finished", kept-finished)
		shelves += own
	}
	for _, t := range s.sink.topics.All() {
		for q := range t.Queued() {
			checkMeter("queue of "+t.Name, &q.Meter)
		}
	}
	if n := int64(s.apps.Pidfds.Load()); n > shelves {
		check("pidfds beside those of reports", n-shelves)
	}
	t := s.sessions
	t.mu.Lock()
	defer t.mu.Unlock()
	check("sessions", int64(len(t.byID)))
	check("running wills", int64(s.wills.stats.running.Load()))
	check("credit lent, bytes", t.pool.Lent().Bytes)
	check("credit lent, records", t.pool.Lent().Records)
	check("frames that may expire", int64(s.gate.Waiting()))
	return left.String()
}

// Unaccounted names what living sessions hold of their shares that nothing of theirs explains.
// Nobody may be at work on them; a receiver may wait, and go on when time does.
func (s *Server) Unaccounted() string {
	var left leftover.List
	for _, sess := range s.sessions.all() {
		sess.mu.Lock()
		entries, kept := sess.held.Unexplained()
		if sess.state.streams() {
			kept -= sess.stream.names.Kept()
		}
		sess.mu.Unlock()
		left.Check(sess.id+" tracker entries", entries)
		left.Check(sess.id+" kept bytes", kept)
	}
	return left.String()
}

// MaxClosedIDs is how many ids of closed sessions are remembered.
const MaxClosedIDs = maxClosedIDs

// RememberClosed remembers so many ids, and returns a function that tells how many are known, and
// keeps them alive.
func RememberClosed(n int, id func(int) string) (known func() int) {
	c := new(closedIDs)
	for i := range n {
		c.add(id(i))
	}
	return func() int { return len(c.ids) }
}

// Pause ends a sidecar as one that stood still.
func (s *Server) Pause() { s.pause(time.Minute) }
