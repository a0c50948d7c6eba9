package sidecar

import "context"

// ProvesDeaths: this system tells who is at the other end of a unix socket, and when that process ends.
const ProvesDeaths = provesDeaths

// Pinned returns the received bytes that records still need, for tests of the memory bound.
func (s *Server) Pinned() (bytes, records int64) { return unpacked(s.pinned.used.Load()) }

// Window returns what the next session is granted.
func (s *Server) Window() (bytes int64, records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.grant()
	s.giveBack(w)
	return w.bytes, w.records
}

// UnreadEmits returns the emits whose message is not read.
func (s *Server) UnreadEmits() int32 { return s.calls.of(emitCall).unread.Load() }

// OpenCalls returns the calls that are open as tap counts them.
func (s *Server) OpenCalls() (emits, streams int32) {
	return s.calls.of(emitCall).open.Load(), s.calls.of(deliveryCall).open.Load()
}

// WillOutcome is what a will did.
type WillOutcome struct {
	Committed        int
	Superseded, Left bool
}

// ExecuteWill executes a will for partitions of a topic, with their ack marks, in the name of a member of group g.
func (s *Server) ExecuteWill(ctx context.Context, member string, generation int32, proven bool, topic string, topicID [16]byte, marks []int64) (WillOutcome, error) {
	w := will{server: s, proven: proven, testament: testament{membership: membership{memberKey: memberKey{group: "g"}, member: member, generation: generation}}}
	for p, mark := range marks {
		w.stays = append(w.stays, stay{epoch: uint64(p) + 1, topic: topic, topicID: topicID, partition: int32(p), mark: mark})
	}
	err := w.execute(ctx)
	return WillOutcome{w.committed, w.superseded != nil, w.left}, err
}

// Calls returns the calls that are open, unread and being read, by kind.
func (s *Server) Calls() (out [callKinds][3]int) {
	for k := range out {
		c := s.calls.of(callKind(k))
		out[k] = [3]int{int(c.open.Load()), int(c.unread.Load()), len(c.readers)}
	}
	return out
}
